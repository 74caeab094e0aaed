"""How servers listen, and how they read the files of tokens and certificates again."""

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from app.errors import StrettoError
from app.net.access import Access, load_credentials
from app.net.file_watch import FileWatch
from app.net.tls import HTTP_1, TlsFiles, renew, tls_context
from app.settings import Settings

log = logging.getLogger(__name__)

STOP_GRACE_S: Final = 1.0


class Startable(Protocol):
    """A server that can start to listen. reuse_port: whether other processes may listen on the same address
    (SO_REUSEPORT)
    """

    reuse_port: bool

    async def start(self) -> None:
        """Listens. Raises: OSError"""
        ...


async def start_listening(site: Startable, where: str, setting: str, *, reuse_port: bool = False) -> None:
    """Raises: StrettoError naming the setting if the address cannot be used"""
    site.reuse_port = reuse_port
    try:
        await site.start()
    except OSError as err:
        raise StrettoError(f"cannot listen on {where} ({setting}): {err.strerror or err}") from err


def auth_file(settings: Settings) -> Path | None:
    """The file of tokens, if there is one."""
    file = settings.server.auth_file
    return Path(file) if file else None


def watch_tokens(watch: FileWatch, settings: Settings, access: Access) -> None:
    """Tokens count as soon as they are in the file, and no longer than they are."""
    file = auth_file(settings)
    if file is not None:
        watch.add("auth_file", [file], lambda: load_credentials(file), access.replace)


def watched_context(
    watch: FileWatch, files: TlsFiles | None, protocols: Sequence[str] = HTTP_1
) -> ssl.SSLContext | None:
    """The context of these files, renewed with them. Raises: StrettoError"""
    if files is None:
        return None
    context = tls_context(files, protocols)
    watch.add(files.setting, files.paths(), lambda: renew(context, files))
    return context
