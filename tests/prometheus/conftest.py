"""One cluster and one Prometheus for all tests that leave them running."""

from collections.abc import Iterator

import pytest

from tests.harness.class_cache import class_cache
from tests.harness.counted_workload import CountedWorkload, counted_workload


@pytest.fixture(scope="session", autouse=True)
def _class_cache() -> Iterator[None]:
    with class_cache():
        yield


@pytest.fixture(scope="package")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountedWorkload]:
    with counted_workload(tmp_path_factory.mktemp("counted")) as running:
        yield running
