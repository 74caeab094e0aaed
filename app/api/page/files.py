"""The built files of the page (app/ui/dist), in memory, in each form that browsers take."""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "ui" / "dist"
INDEX: Final = "index.html"
# Names below it have a hash of what they hold.
ASSETS: Final = "assets/"
# Content codings in the order in which we prefer them: name in Accept-Encoding, end of the file's name.
_CODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
_BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file. bodies: by content coding, "identity" for the plain one. etag: without quotes"""

    content_type: str
    bodies: Mapping[str, bytes]
    etag: str
    immutable: bool

    def best(self, accepted: str) -> tuple[str, bytes]:
        """The content coding and the body for a client. accepted: its header Accept-Encoding"""
        wanted = {part.partition(";")[0].strip() for part in accepted.lower().split(",") if not _refused(part)}
        for coding, _ in _CODINGS:
            if coding in wanted and coding in self.bodies:
                return coding, self.bodies[coding]
        return "identity", self.bodies["identity"]


def _refused(part: str) -> bool:
    """Whether an item of Accept-Encoding has the weight 0: `br;q=0`."""
    weight = part.partition(";")[2].replace(" ", "")
    return weight.startswith("q=") and not weight.removeprefix("q=").strip("0.")


class PageFiles:
    """The files of one folder: read when somebody asks first, and again when the page was built anew."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._version: tuple[int, int] | None = None
        self._files: Mapping[str, PageFile] = {}

    def current(self) -> Mapping[str, PageFile]:
        """The files by their paths below the folder; none where the page is not built. Reads the disk: call it on a
        thread. Raises: OSError
        """
        try:
            stat = (self._folder / INDEX).stat()
        except FileNotFoundError:
            return {}
        version = (stat.st_mtime_ns, stat.st_ino)
        if version != self._version:
            self._files, self._version = read(self._folder), version
        return self._files

    def known(self) -> Mapping[str, PageFile]:
        """The files as last read."""
        return self._files


def read(folder: Path) -> Mapping[str, PageFile]:
    """All files of a folder, with their compressed forms. Raises: OSError"""
    ends = tuple(end for _, end in _CODINGS)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(ends))
    if sum(path.stat().st_size for path in paths) > _BYTES_MAX:
        raise OSError(f"{folder}: more than {_BYTES_MAX >> 20} MiB is no page")
    return {path.relative_to(folder).as_posix(): _read_one(folder, path) for path in paths}


def _read_one(folder: Path, path: Path) -> PageFile:
    plain = path.read_bytes()
    bodies = {"identity": plain}
    for coding, end in _CODINGS:
        packed = path.with_name(path.name + end)
        if packed.is_file():
            bodies[coding] = packed.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind in {"text/javascript", "application/javascript", "text/css", "text/html", "text/plain"}:
        kind += "; charset=utf-8"
    immutable = path.relative_to(folder).as_posix().startswith(ASSETS)
    return PageFile(kind, bodies, hashlib.sha256(plain).hexdigest()[:20], immutable)
