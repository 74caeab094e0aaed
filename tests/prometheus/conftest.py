"""One cluster and one Prometheus for all tests that leave them running."""

from collections.abc import Iterator

import pytest

from tests.helpers.told import Told, telling


@pytest.fixture(scope="package")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with telling(tmp_path_factory.mktemp("told")) as running:
        yield running
