"""Nobody fills a disk with bad requests."""

import logging

import pytest
from mode.utils.logging import ExtensionFormatter

from agents.distributor import agent as distributor
from agents.distributor import span_encoder
from agents.limited_log import LINES_MAX, WINDOW_S, FewLines, limited_logger
from app.net import http2
from app.receivers import grpc as grpc_receiver


def _record(line: int) -> logging.LogRecord:
    return logging.LogRecord("x", logging.WARNING, "file.py", line, "skipped %d", (7,), None)


def test_few_lines_of_each_statement() -> None:
    now_s = 0.0
    few = FewLines(lambda: now_s)
    passed = [few.filter(_record(1)) for _ in range(1000)]
    assert passed == [True] * LINES_MAX + [False] * (1000 - LINES_MAX)
    assert few.filter(_record(2)), "another statement"
    now_s = WINDOW_S
    assert few.filter(record := _record(1))
    assert record.getMessage() == f"skipped 7 ({1000 - LINES_MAX} more like this were not logged)"
    assert ExtensionFormatter(fmt="%(message)s").format(record).startswith("skipped 7 ("), "Faust's own formatter"
    assert few.filter(record := _record(1))
    assert record.getMessage() == "skipped 7"


@pytest.mark.parametrize("logger", [distributor.log, span_encoder.log, http2.log, grpc_receiver.log])
def test_what_clients_cause_is_limited(logger: logging.Logger) -> None:
    assert any(isinstance(one, FewLines) for one in logger.filters)


def test_one_limit_for_a_logger() -> None:
    assert limited_logger("few").filters == limited_logger("few").filters
    assert len(limited_logger("few").filters) == 1
