"""Options of the whole test suite."""

import pytest
from hypothesis import settings

from tests.helpers.examples import examples
from tests.helpers.late_connections import close_late_connections

# A test must not fail because the machine is busy: what may not take long is bounded by counts, or by pytest-timeout.
settings.register_profile("stretto", deadline=None, max_examples=examples(60))
settings.load_profile("stretto")
close_late_connections()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what the code answers into the golden files (tests/query/testdata): read the diff",
    )
