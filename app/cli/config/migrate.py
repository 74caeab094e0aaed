"""`stretto config migrate`: Tempo's file in, ours out, and on stderr what became of each key that is not the same."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from app.cli.config.check import is_overrides_file
from app.errors import StrettoError
from app.settings.migration import Migrated, Note, migrate_settings, migrate_tenants
from app.settings.show import tree_yaml

_STDIN: Final = "-"
_EXIT_LEFT: Final = 1


def main(file: str, output: Path | None, *, overrides: bool) -> int:
    """Migrates a file. Out: the exit code, 1 if something is left to do. Raises: StrettoError"""
    text, name = _read(file)
    tenants = overrides or (file != _STDIN and is_overrides_file(Path(file)))
    found = migrate_tenants(text, name) if tenants else migrate_settings(text, name)
    made = f"# Made of {name} by `stretto config migrate`.\n{tree_yaml(found.tree)}"
    if output is None:
        sys.stdout.write(made)
    else:
        try:
            with open(output, "w", encoding="utf-8", opener=_for_the_owner) as out:
                out.write(made)
        except OSError as err:
            raise StrettoError(f"{output}: cannot be written: {err.strerror or err}") from err
    _say(found, tenants=tenants, output=output)
    return _EXIT_LEFT if found.manual else 0


def _for_the_owner(path: str, flags: int) -> int:
    """A new file may hold secrets."""
    return os.open(path, flags, 0o600)


def _read(file: str) -> tuple[str, str]:
    try:
        if file == _STDIN:
            return sys.stdin.read(), "stdin"
        return Path(file).read_text(encoding="utf-8-sig"), file
    except OSError as err:
        raise StrettoError(f"{file}: cannot be read: {err.strerror or err}") from err
    except UnicodeDecodeError as err:
        raise StrettoError(f"{file}: not UTF-8 text; save the file as UTF-8") from err


def _say(found: Migrated, *, tenants: bool, output: Path | None) -> None:
    _list("Changed:", found.changed)
    _list("Without a counterpart; nothing to do:", found.dropped)
    _list("To do by hand:", found.manual)
    name = str(output) if output else "the file"
    lines = [f"Next: `stretto config check {name}`" + (" --overrides" if tenants else "")]
    if not tenants and (bucket := _bucket(found.tree)):
        lines.append(f"Tempo's blocks come over with `stretto import tempo {bucket}`; see docs/from-tempo.md")
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def _list(title: str, notes: Sequence[Note]) -> None:
    if notes:
        ordered = sorted(notes, key=lambda note: note.place.line if note.place else 0)
        sys.stderr.write("\n".join([title, *(f"  {note}" for note in ordered)]) + "\n\n")


def _bucket(tree: dict[str, Any]) -> str:
    """Tempo's bucket as the import names it; "" if it is not known."""
    trace = tree.get("storage", {}).get("trace", {})
    backend = trace.get("backend", "")
    scheme, key = {
        "s3": ("s3", "bucket"), "gcs": ("gs", "bucket_name"), "azure": ("az", "container_name"),
    }.get(backend, ("", ""))  # fmt: skip
    name = trace.get(backend, {}).get(key, "") if scheme else ""
    return f"{scheme}://{name}" if name else ""
