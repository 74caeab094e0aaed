"""TLS to Kafka. Files are read again for every connection, so that certificates can be renewed."""

import logging
import ssl
from pathlib import Path
from typing import Any, Self

log = logging.getLogger(__name__)


class KafkaTls(ssl.SSLContext):
    """A context whose certificates are always those of its files. While new ones cannot be used, the last good ones
    stay.
    """

    _files: tuple[Path, ...] = ()
    _pair: tuple[str, str] | None = None
    _ca_file = _server_name = ""
    _changed_ns: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, *, ca_file: str, cert_file: str = "", key_file: str = "", server_name: str = "", verify: bool = True
    ) -> Self:
        """ca_file: authorities to trust; "": the machine's. cert_file, key_file: of the client; "": it shows none
        server_name: that the broker's certificate must have; "": the broker's host. Raises: OSError, which names the
        file
        """
        made = cls(ssl.PROTOCOL_TLS_CLIENT)
        if not verify:
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        elif not ca_file:
            made.load_default_certs()
        made._pair = (cert_file, key_file) if cert_file else None
        made._ca_file, made._server_name = ca_file, server_name
        made._files = tuple(Path(name) for name in (ca_file, cert_file, key_file) if name)
        made._read(made._times())
        return made

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Event loops call it for each connection."""
        try:
            times = self._times()
            if times != self._changed_ns:
                self._read(times)
        except OSError as err:
            log.warning("TLS of Kafka: the certificates before stay in use: %s", err)
        if self._server_name:
            kwargs["server_hostname"] = self._server_name
        return super().wrap_bio(*args, **kwargs)

    def _times(self) -> tuple[int, ...]:
        try:
            return tuple(file.stat().st_mtime_ns for file in self._files)
        except OSError as err:
            raise OSError(f"{err.filename} cannot be used: {err.strerror}") from err

    def _read(self, times: tuple[int, ...]) -> None:
        name = self._ca_file
        try:
            # Half of a pair must not get into the context that is used.
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self):
                if self._ca_file:
                    context.load_verify_locations(self._ca_file)
                if self._pair is not None:
                    name = " and ".join(self._pair)
                    # A key with a password must not ask for it at the terminal.
                    context.load_cert_chain(*self._pair, password=str)
        except (OSError, ssl.SSLError) as err:
            raise OSError(f"{name} cannot be used: {err.strerror or err}") from err
        self._changed_ns = times
