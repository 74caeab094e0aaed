"""Credentials and TLS of requests to Prometheus and its kin: how Stretto identifies itself, and how the target must.

Files are read again for every request, as in Prometheus, so that tokens and certificates can be renewed.
"""

import base64
import ssl
from pathlib import Path
from urllib.parse import SplitResult, unquote

from app.errors import StrettoError
from app.settings.sections.remote_write import Authorization, BasicAuth, RemoteWrite, TlsConfig


class CredentialsError(StrettoError):
    """A file with credentials or certificates cannot be used now; it may be valid later."""


def authorization(target: RemoteWrite, url: SplitResult) -> str:
    """The value of the header Authorization; "" for no header. Raises: CredentialsError"""
    if found := authorization_of(url, target.basic_auth, target.authorization):
        return found
    token = _secret(target.bearer_token.get_secret_value(), target.bearer_token_file)
    return f"Bearer {token}" if token else ""


def authorization_of(url: SplitResult, basic: BasicAuth, other: Authorization) -> str:
    """As `authorization`, of the user in the URL or of either section. Raises: CredentialsError"""
    if url.username:
        return _basic(unquote(url.username), unquote(url.password or ""))
    if basic.username:
        return _basic(basic.username, _secret(basic.password.get_secret_value(), basic.password_file))
    token = _secret(other.credentials.get_secret_value(), other.credentials_file)
    return f"{other.type} {token}" if token else ""


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _secret(given: str, file: str) -> str:
    if not file:
        return given
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise CredentialsError(f"{file} cannot be read: {getattr(err, 'strerror', None) or 'not UTF-8'}") from err
    if not secret or not secret.isprintable():
        raise CredentialsError(f"{file} does not hold a secret: expected one line of text")
    return secret


class ClientTls:
    """The TLS of a target's connections."""

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._files = [Path(name) for name in (config.ca_file, config.cert_file, config.key_file) if name]
        self._changed_ns: list[int] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> tuple[ssl.SSLContext, bool]:
        """The context, and whether it has changed since the last call. Raises: CredentialsError"""
        try:
            changed_ns = [file.stat().st_mtime_ns for file in self._files]
            if self._context is not None and changed_ns == self._changed_ns:
                return self._context, False
            context = ssl.create_default_context(cafile=self._config.ca_file or None)
            if self._config.cert_file:
                # Without a password in the settings a key that needs one must not ask at the terminal.
                context.load_cert_chain(self._config.cert_file, self._config.key_file, password=str)
        except (OSError, ssl.SSLError) as err:
            names = ", ".join(map(str, self._files))
            raise CredentialsError(f"tls_config: {names} cannot be used: {err.strerror or err}") from err
        if self._config.insecure_skip_verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._changed_ns, self._context = changed_ns, context
        return context, True
