"""Where a command of the command line runs."""

import os
from pathlib import Path

import pytest

from app.settings.environment import SHORT_NAMES


@pytest.fixture
def clean_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and none of the variables that mean something."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name in SHORT_NAMES or name.startswith("STRETTO_"):
            monkeypatch.delenv(name)
    return tmp_path
