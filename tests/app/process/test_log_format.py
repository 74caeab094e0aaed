"""The structured log: a line for each record, whatever is in it."""

import io
import json
import logging
import logging.config

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.log_line import log_context, log_line, logfmt
from app.process.log_format import JsonFormatter, LogfmtFormatter, logging_config
from app.standalone.output import _LEVEL

log = logging.getLogger("tests.log_format")


def logged(formatter: logging.Formatter, write) -> list[str]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        write()
    finally:
        log.removeHandler(handler)
    return stream.getvalue().splitlines()


def fails() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        log.exception("partition %d", 3)


def test_json():
    def write():
        log.warning("plain %s", "text")
        with log_context(tenant="acme", trace_id="0a"):
            log_line(log, logging.INFO, "query", {"op": "search", "status": 200, "tenant": "acme"})
            log.info("within")
        log.info("outside")
        fails()

    plain, query, within, outside, failed = map(json.loads, logged(JsonFormatter(), write))
    assert {key: plain[key] for key in ("level", "logger", "msg")} == {
        "level": "warn",
        "logger": "tests.log_format",
        "msg": "plain text",
    }
    assert list(plain)[:2] == ["ts", "level"]
    assert plain["ts"].endswith("Z")
    fields = {key: query[key] for key in ("msg", "op", "status", "tenant", "trace_id", "level")}
    assert fields == {
        "msg": "query",
        "op": "search",
        "status": 200,
        "tenant": "acme",
        "trace_id": "0a",
        "level": "info",
    }
    assert (within["tenant"], within["trace_id"]) == ("acme", "0a")
    assert "tenant" not in outside
    assert (failed["level"], failed["msg"], failed["err"]) == ("error", "partition 3", "ValueError('a\\nb')")
    assert failed["stack"].startswith("Traceback")


def test_logfmt():
    def write():
        log_line(
            log, logging.WARNING, "slow query", {"op": "search", "query": '{ .a = "b" }', "took_s": 1.5, "x": True}
        )
        fails()

    slow, failed = logged(LogfmtFormatter(), write)
    assert slow.split(" ", 1)[1] == (
        'level=warn logger=tests.log_format msg="slow query" op=search query="{ .a = \\"b\\" }" took_s=1.5 x=true'
    )
    assert 'msg="partition 3" err="ValueError(\'a\\\\nb\')" stack="Traceback' in failed


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(["a", "b"]), st.text()))
def test_any_text_stays_on_its_line(fields):
    line = logfmt(fields)
    assert len(line.splitlines()) <= 1
    assert line.isprintable()


@pytest.mark.parametrize("formatter", [JsonFormatter(), LogfmtFormatter()], ids=["json", "logfmt"])
@pytest.mark.parametrize(
    ("level", "group"), [("error", "error"), ("warning", "warning"), ("info", "quiet"), ("debug", "quiet")]
)
def test_stretto_run_knows_the_levels(formatter, level, group):
    """It shows warnings and errors of its children on the terminal."""
    (line,) = logged(formatter, lambda: getattr(log, level)("an ERROR in the text"))
    assert _LEVEL.search(line[:120]).lastgroup == group


@pytest.mark.parametrize("log_format", ["json", "logfmt"])
def test_config_is_valid(log_format):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logging.config.dictConfig(logging_config(log_format, "warn"))
        assert root.level == logging.WARNING
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
