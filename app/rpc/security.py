"""Who may call: processes that know the shared token, or that have a certificate of the cluster's authority, or both.

The file of the token has a token per line. The first one is sent, all are accepted: so it can be changed while
processes run. Put the new token below the old one everywhere, then move it up everywhere, then take the old one away.
"""

import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import grpc

from app.errors import SettingsError
from app.settings.sections.server import Server

_TOKEN_SETTING: Final = "server.internal_token_file"  # noqa: S105 (a name)
_TLS_SETTING: Final = "server.internal_tls_config"
_TOKEN_CHARS_MIN: Final = 16
_FILE_BYTES_MAX: Final = 64 << 10
_METADATA: Final = "authorization"


@dataclass(frozen=True, slots=True)
class TlsTexts:
    """PEM: the certificate of this process, its key, and the authorities of all processes."""

    cert: bytes
    key: bytes
    authorities: bytes


class InternalSecurity:
    """The secrets of a process. `reload` reads their files again."""

    def __init__(self, server: Server) -> None:
        """Raises: SettingsError where the settings would let everybody in, or a file cannot be used"""
        self._server = server
        if not is_loopback(server.grpc_listen_address) and not (
            server.internal_token_file or server.internal_tls_config.client_ca_file
        ):
            raise SettingsError(
                f"server.grpc_listen_address {server.grpc_listen_address} lets other machines call this process: set "
                f"{_TOKEN_SETTING}, or {_TLS_SETTING} with client_ca_file, so that not everybody can"
            )
        tls = server.internal_tls_config
        if tls.cert_file and not tls.client_ca_file:
            raise SettingsError(
                f"{_TLS_SETTING}.client_ca_file is missing: it has the authorities of the processes' certificates"
            )
        self.version = 0  # grows with each change
        self._tokens, self.tls = self._load()

    def paths(self) -> list[Path]:
        """The files to watch."""
        tls = self._server.internal_tls_config
        named = (self._server.internal_token_file, tls.cert_file, tls.key_file, tls.client_ca_file)
        return [Path(path) for path in named if path]

    def load(self) -> tuple[Sequence[str], TlsTexts | None]:
        """What the files say now, for `use`. Raises: SettingsError"""
        return self._load()

    def use(self, loaded: tuple[Sequence[str], TlsTexts | None]) -> None:
        """Takes over what `load` has read."""
        self._tokens, self.tls = loaded
        self.version += 1

    def metadata(self) -> list[tuple[str, str]]:
        """What a call of this process says to be let in."""
        return [(_METADATA, f"Bearer {self._tokens[0]}")] if self._tokens else []

    def lets_in(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> bool:
        """Whether a call with this metadata comes from a process that knows the token."""
        if not self._tokens:
            return True
        given = [value for name, value in metadata or () if name == _METADATA]
        if len(given) != 1:
            return False
        text = given[0].encode() if isinstance(given[0], str) else given[0]
        # All are compared, each in constant time.
        return sum(hmac.compare_digest(text, f"Bearer {token}".encode()) for token in self._tokens) > 0

    def server_credentials(self) -> Any:
        """For a listener; None: no TLS. New files count from the next connection on."""
        if self.tls is None:
            return None
        seen = self.version

        def config() -> Any:
            assert self.tls is not None
            return grpc.ssl_server_certificate_configuration([(self.tls.key, self.tls.cert)], self.tls.authorities)

        def fetch() -> Any:
            nonlocal seen
            if seen == self.version:
                return None
            seen = self.version
            return config()

        return grpc.dynamic_ssl_server_credentials(config(), fetch, require_client_authentication=True)

    def channel_credentials(self) -> Any:
        """For a call; None: no TLS."""
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(self.tls.authorities, self.tls.key, self.tls.cert)

    @property
    def server_name(self) -> str:
        """The name that certificates of processes have, where it is not their address; "" where it is."""
        return self._server.internal_tls_server_name

    def _load(self) -> tuple[Sequence[str], TlsTexts | None]:
        file, tls = self._server.internal_token_file, self._server.internal_tls_config
        tokens = _tokens(Path(file)) if file else ()
        if not tls.cert_file:
            return tokens, None
        texts = [_read(Path(path), _TLS_SETTING) for path in (tls.cert_file, tls.key_file, tls.client_ca_file)]
        return tokens, TlsTexts(*texts)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


def new_token() -> str:
    """A token for the file."""
    return secrets.token_urlsafe(32)


def _tokens(path: Path) -> tuple[str, ...]:
    try:
        text = _read(path, _TOKEN_SETTING).decode("ascii")
    except UnicodeDecodeError:
        raise SettingsError(f"{_TOKEN_SETTING} {path}: a token is ASCII text") from None
    tokens = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not tokens or any(len(token) < _TOKEN_CHARS_MIN or not token.isprintable() for token in tokens):
        raise SettingsError(f"{_TOKEN_SETTING} {path}: expected tokens of at least {_TOKEN_CHARS_MIN} characters")
    return tokens


def _read(path: Path, setting: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX)
    except OSError as err:
        raise SettingsError(f"{setting}: cannot read {path}: {err.strerror}") from err
