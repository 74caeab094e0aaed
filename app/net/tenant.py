"""The tenant of a request, from the header `X-Scope-OrgID`. The receivers and the query API share it."""

from collections.abc import Sequence
from typing import Final

from tables.tenant import NAME_CHARS_MAX, valid_tenant

HEADER: Final = "X-Scope-OrgID"
SINGLE_TENANT: Final = "single-tenant"  # the tenant of everything while multitenancy is off


class NoTenant(ValueError):  # noqa: N818 (says what it is)
    """Multitenancy is on and the request names no tenant. HTTP 401, gRPC UNAUTHENTICATED."""


class InvalidTenant(ValueError):  # noqa: N818 (as above)
    """The request's tenant name is invalid. HTTP 400, gRPC INVALID_ARGUMENT."""


class RepeatedHeader(InvalidTenant):
    """An identity header is duplicate, so nobody can know which value counts."""


def only_value(name: str, values: Sequence[str]) -> str | None:
    """The value of an identity header; None if it is absent.

    Raises: RepeatedHeader. If a proxy appends its own header, the client could choose a tenant by sending one, too
    """
    if len(values) > 1:
        raise RepeatedHeader(
            f"the header {name} is there {len(values)} times; send it once, and let a proxy replace it, not append"
        )
    return values[0] if values else None


def tenant_of(header: str | None, multitenancy: bool) -> str:  # noqa: FBT001 (a setting, passed on as it is)
    """The tenant of a request.

    In: the value of the header `X-Scope-OrgID` (None: not sent); the setting `multitenancy_enabled`
    Out: a name that is safe as a Kafka key and as one part of an object path
    Raises: NoTenant, InvalidTenant
    Source: Grafana's rules for tenant ids: 1 to 150 characters of a-z A-Z 0-9 ! - _ . * ' ( ); neither . nor .. alone
    """
    if not multitenancy:
        return SINGLE_TENANT
    if not header:
        raise NoTenant("no org id")
    if len(header) > NAME_CHARS_MAX:
        raise InvalidTenant(f"invalid {HEADER}: {len(header)} characters; a tenant name has at most {NAME_CHARS_MAX}")
    if not valid_tenant(header):
        raise InvalidTenant(
            f"invalid {HEADER} {header!r}: a tenant name has letters, digits and !-_.*'() and is neither . nor .."
        )
    return header
