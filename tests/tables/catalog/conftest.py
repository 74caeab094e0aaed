"""What holds in all tests of the catalogue."""

from collections.abc import Mapping

import pytest

from tables.catalog.damage import Damage
from tables.catalog.snapshot import BlockSnapshot, Snapshots
from tables.catalog.state import CatalogState


@pytest.fixture(autouse=True)
def snapshots_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test does: a snapshot that was kept is what a new one would be."""
    of = Snapshots.of

    def compared(self: Snapshots, tenant: str, state: CatalogState, damaged: Mapping[str, Damage]) -> BlockSnapshot:
        kept, new = of(self, tenant, state, damaged), of(Snapshots(), tenant, state, damaged)
        assert kept.index is new.index
        for name in ("flushed_offsets", "damaged", "problems", "cut_blocks"):
            assert getattr(kept, name) == getattr(new, name), name
        return kept

    monkeypatch.setattr(Snapshots, "of", compared)
