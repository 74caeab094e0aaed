"""Access control by tenants' tokens, from the file that `server.auth_file` names. Without a file everybody has
access.
"""

import hashlib
import hmac
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import yaml

from app.errors import SettingsError
from app.net.tenant import HEADER, SINGLE_TENANT, InvalidTenant, only_value, tenant_of
from tables.tenant import valid_tenant

AUTHORIZATION: Final = "Authorization"
CHALLENGE: Final = 'Bearer realm="stretto", Basic realm="stretto"'
ANY_TENANT: Final = "*"
SEPARATOR: Final = "|"  # of the tenants that a query asks for; no name has it

_AUTHORIZATION, _ORG = AUTHORIZATION.lower(), HEADER.lower()
_FILE_BYTES_MAX: Final = 16 << 20
_HASH: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")
_TOKEN_CHARS_MAX: Final = 4096

# Tenant → SHA-256 of each of its tokens. Tokens are long and random, so that a fast hash is enough.
Credentials = Mapping[str, Sequence[bytes]]


class Unauthorized(ValueError):  # noqa: N818 (says what it is)
    """The request has no token, or an unknown one. HTTP 401, gRPC UNAUTHENTICATED."""


class Forbidden(ValueError):  # noqa: N818 (as above)
    """The token belongs to another tenant. HTTP 403, gRPC PERMISSION_DENIED."""


class HeaderValues(Protocol):
    """Headers of HTTP, whatever the case of their names, as aiohttp has them."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """All values of a header."""
        ...


class Identity(NamedTuple):
    """The headers by which a client identifies itself; None: not sent."""

    authorization: str | None
    org: str | None

    @staticmethod
    def of(headers: Iterable[tuple[str, str | bytes]]) -> "Identity":
        """The identity in the headers of a request, or the metadata of a call. Raises: RepeatedHeader"""
        found: dict[str, list[str]] = {_AUTHORIZATION: [], _ORG: []}
        for name, value in headers:
            values = found.get(name.lower())
            if values is not None:
                values.append(value if isinstance(value, str) else value.decode("utf-8", "surrogateescape"))
        return Identity(only_value(AUTHORIZATION, found[_AUTHORIZATION]), only_value(HEADER, found[_ORG]))

    @staticmethod
    def of_http(headers: HeaderValues) -> "Identity":
        """As `of`, of headers that can be looked up whatever their case. Raises: RepeatedHeader"""
        authorization, org = headers.getall(AUTHORIZATION, ()), headers.getall(HEADER, ())
        if not authorization and not org:
            return _NOBODY
        return Identity(only_value(AUTHORIZATION, authorization), only_value(HEADER, org))


_NOBODY: Final = Identity(None, None)


class Access:
    """Decides to which tenant a request belongs, and whether it is allowed."""

    def __init__(self, *, multitenancy: bool, credentials: Credentials | None = None, several_max: int = 1) -> None:
        """credentials: None: no token needed. several_max: the most tenants that a query may ask for at once"""
        self._multitenancy, self._credentials, self._several_max = multitenancy, credentials, several_max

    def replace(self, credentials: Credentials) -> None:
        """Uses new credentials from now on."""
        self._credentials = credentials

    def check(self, authorization: str | None) -> None:
        """Checks a request that concerns no tenant: any known token will do. Raises: Unauthorized"""
        if self._credentials is not None:
            self._owners(self._credentials, authorization)

    def sees(self, authorization: str | None) -> Callable[[str], bool]:
        """Whether a request that concerns no single tenant may see what is of a tenant. Raises: Unauthorized"""
        if self._credentials is None:
            return lambda _: True
        owners, _ = self._owners(self._credentials, authorization)
        return lambda tenant: tenant in owners or ANY_TENANT in owners

    def check_operator(self, authorization: str | None) -> None:
        """Checks a request that concerns everybody: where tokens are needed, one of all tenants will do.

        Raises: Unauthorized, Forbidden
        """
        if self._credentials is None:
            return
        owners, _ = self._owners(self._credentials, authorization)
        if ANY_TENANT not in owners:
            raise Forbidden(f"this is for operators: it needs a token of the tenant {ANY_TENANT} in server.auth_file")

    def tenant(self, authorization: str | None, org: str | None) -> str:
        """The tenant of a request.

        In: the values of the headers Authorization and X-Scope-OrgID; None: not sent
        Out: as `tenant_of`. A request with a token may omit X-Scope-OrgID: the tenant is then the user of Basic, or
        else the only tenant of the token
        Raises: Unauthorized, Forbidden, NoTenant, InvalidTenant
        """
        if self._credentials is None:
            return tenant_of(org, self._multitenancy)
        owners, user = self._owners(self._credentials, authorization)
        (alone,) = owners if len(owners) == 1 and ANY_TENANT not in owners else (None,)
        tenant = tenant_of(org or user or alone, self._multitenancy)
        if tenant not in owners and ANY_TENANT not in owners:
            raise Forbidden(
                f"this token is not one of tenant {tenant}"
                if self._multitenancy
                else f"this token is not one of {SINGLE_TENANT}, to which all belongs while multitenancy_enabled is off"
            )
        return tenant

    def tenants(self, authorization: str | None, org: str | None) -> str:
        """As `tenant`, of a query: several tenants separated by `|` where that is allowed, each as if it were asked for
        alone. Out: their names, in order and each once, with that sign between them
        """
        several = self._several_max > 1 and org is not None and SEPARATOR in org
        if not several or org is None or not self._multitenancy:
            return self.tenant(authorization, org)
        names = org.split(SEPARATOR, self._several_max)
        if len(names) > self._several_max:
            raise InvalidTenant(f"invalid {HEADER}: more than {self._several_max} tenants are asked for at once")
        return SEPARATOR.join(sorted({self.tenant(authorization, name) for name in names}))

    def tenant_without_headers(self, named: str, setting: str) -> str | None:
        """The tenant of what has no headers, such as datagrams: the one that the operator names; None: not known.

        named: "" for nobody. Raises: SettingsError if the name cannot be a tenant's
        """
        if named and not valid_tenant(named):
            raise SettingsError(f"{setting}: {named!r} cannot be the name of a tenant")
        if self._multitenancy or self._credentials is not None:
            return (named if self._multitenancy else SINGLE_TENANT) if named else None
        return SINGLE_TENANT

    @staticmethod
    def _owners(credentials: Credentials, authorization: str | None) -> tuple[set[str], str]:
        """The tenants of the token, at least one, and the user of Basic, else ""."""
        token, user = _token(authorization)
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        # All are compared, each in constant time, so that the time reveals nothing about known tokens.
        owners = {
            tenant
            for tenant, known in credentials.items()
            if sum(hmac.compare_digest(digest, one) for one in known) and token
        }
        if not owners:
            raise Unauthorized("no valid token: send Authorization: Bearer <token>, or Basic with it as the password")
        return owners, user


def _token(authorization: str | None) -> tuple[str, str]:
    """Token and user of an Authorization header; "" for an absent or invalid part."""
    scheme, _, value = (authorization or "")[:_TOKEN_CHARS_MAX].partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer":
            return value, ""
        case "basic":
            try:
                user, _, password = b64decode(value, validate=True).decode().partition(":")
            except ValueError:  # neither base64 nor UTF-8
                return "", ""
            return password, user
        case _:
            return "", ""


def load_credentials(path: Path | None) -> Credentials | None:
    """Reads the token file: YAML, tenant → list of `sha256:<hex of the token's SHA-256>`; None without a file.

    Raises: SettingsError, without any value of the file in its text
    """
    if path is None:
        return None
    where = f"server.auth_file {path}"
    try:
        with path.open("rb") as file:
            tree = yaml.safe_load(file.read(_FILE_BYTES_MAX))
    except (OSError, yaml.YAMLError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else "it is not YAML"
        raise SettingsError(f"{where}: cannot be read: {why}") from err
    if not isinstance(tree, dict) or not tree:
        raise SettingsError(f"{where}: expected a mapping from tenants to lists of sha256:<64 hex digits>")
    return {_tenant(where, name): _hashes(where, name, values) for name, values in tree.items()}


def _tenant(where: str, name: object) -> str:
    if isinstance(name, str) and (name == ANY_TENANT or valid_tenant(name)):
        return name
    raise SettingsError(
        f"{where}: {str(name)[:80]!r} is not a tenant's name (see {HEADER} in docs/api.md); quote numbers"
    )


def _hashes(where: str, tenant: str, values: object) -> tuple[bytes, ...]:
    found = [_HASH.fullmatch(value) if isinstance(value, str) else None for value in _list(values)]
    good = tuple(bytes.fromhex(one[1]) for one in found if one)
    if not good or len(good) < len(found):
        raise SettingsError(
            f"{where}: {tenant}: expected a list of sha256:<64 hex digits>, as `stretto token` prints them"
        )
    return good


def _list(values: object) -> list[object]:
    return values if isinstance(values, list) else []
