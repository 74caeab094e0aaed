"""TLS of listeners. Renewed certificate files apply from the next connection on."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import StrettoError
from app.settings.sections.server import Tls

HTTP_1: Final = ("http/1.1",)
HTTP_2: Final = ("h2",)
HTTP_1_AND_GRPC: Final = ("http/1.1", "h2")  # the server's order decides


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. client_ca: CAs of client certificates; None: clients need none; setting: for error messages"""

    cert: Path
    key: Path
    client_ca: Path | None
    setting: str

    @staticmethod
    def of(config: Tls, setting: str) -> "TlsFiles | None":
        """The files that a section of the settings names; None: no TLS."""
        if not config.cert_file:
            return None
        ca = Path(config.client_ca_file) if config.client_ca_file else None
        return TlsFiles(Path(config.cert_file), Path(config.key_file), ca, setting)

    def paths(self) -> Sequence[Path]:
        """The paths of all files, to watch for changes."""
        return [path for path in (self.cert, self.key, self.client_ca) if path is not None]


def tls_context(files: TlsFiles, protocols: Sequence[str] = HTTP_1) -> ssl.SSLContext:
    """An SSL context. protocols: for ALPN. Raises: StrettoError that names the setting"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_cert_chain(files.cert, files.key)
    except (OSError, ssl.SSLError) as err:
        raise StrettoError(
            f"cannot use the certificate {files.cert} with the key {files.key} ({files.setting}): "
            f"{err.strerror or err}; both must be PEM files, the key without a password"
        ) from err
    if files.client_ca is None:
        return
    try:
        context.load_verify_locations(files.client_ca)
    except (OSError, ssl.SSLError) as err:
        raise StrettoError(
            f"cannot use the authorities {files.client_ca} ({files.setting}.client_ca_file): "
            f"{err.strerror or err}; it must be a PEM file"
        ) from err
    context.verify_mode = ssl.CERT_REQUIRED


def renew(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Loads the files again for new connections. A CA that was removed from the files stays trusted until a restart.

    Raises: as `tls_context`; the context then stays unchanged
    """
    tls_context(files)  # half of a pair must not get into the one that is used
    _load(context, files)
