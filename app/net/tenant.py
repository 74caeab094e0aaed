"""Whose spans these are: the tenant that `X-Scope-OrgID` names. Shared by the receivers and the query API."""

from collections.abc import Sequence
from typing import Final

from tables.tenant import NAME_CHARS_MAX, valid_tenant

HEADER: Final = "X-Scope-OrgID"
SINGLE_TENANT: Final = "single-tenant"  # the tenant of everything while multitenancy is off


class NoTenant(ValueError):  # noqa: N818 (says what it is)
    """Multitenancy is on and the request names no tenant. HTTP 401, gRPC UNAUTHENTICATED."""


class InvalidTenant(ValueError):  # noqa: N818 (as above)
    """The request's tenant name may not be one. HTTP 400, gRPC INVALID_ARGUMENT."""


class RepeatedHeader(InvalidTenant):
    """A header that decides who is asking is there more than once: nobody can know whose value it is."""


def only_value(name: str, values: Sequence[str]) -> str | None:
    """The value of a header that decides who is asking; None where it is not there.

    Raises: RepeatedHeader. A proxy that appends its own would let the client choose by sending one, too.
    """
    if len(values) > 1:
        raise RepeatedHeader(
            f"the header {name} is there {len(values)} times; send it once, and let a proxy replace it, not append"
        )
    return values[0] if values else None


def tenant_of(header: str | None, multitenancy: bool) -> str:  # noqa: FBT001 (a setting, passed on as it is)
    """The tenant of a request.

    In:     the value of the header `X-Scope-OrgID` (None: not sent); the setting `multitenancy_enabled`
    Out:    a name that is safe as a Kafka key and as one part of an object's path
    Raises: NoTenant, InvalidTenant
    Source: Grafana's rules for tenant ids: 1 to 150 characters of a-z A-Z 0-9 ! - _ . * ' ( ); neither . nor
            .. alone
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
