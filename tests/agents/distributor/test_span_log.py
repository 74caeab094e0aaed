"""The log of spans: a line each, as the settings say."""

import logging

from agents.distributor.limits import TenantLimits
from agents.distributor.span_log import SpanLogConfig
from tests.helpers.live.whole_way import request, span
from tests.helpers.receiving.limits import encoder, inspector, of

BODY = request(
    [span(1, name='a "b"\nc', kind=2, attributes={"http.route": "/x"}), span(2, name="bad", status={"code": 2})],
    service_name="shop",
)


def lines(caplog, body=BODY, limits=None, **configs):
    with caplog.at_level(logging.INFO):
        encoder(inspector(limits or {}, **configs)).encode([of("t", body)], 1)
    return [record.getMessage() for record in caplog.records]


def test_off(caplog):
    """Nothing, by default."""
    assert lines(caplog, received_log=SpanLogConfig(), discarded_log=SpanLogConfig(all_attributes=True)) == []


def test_received(caplog):
    """The ids."""
    first, second = lines(caplog, received_log=SpanLogConfig(enabled=True))
    assert first.startswith("msg=received spanid=0000000000000001 traceid=")
    assert second.startswith("msg=received spanid=0000000000000002 traceid=")


def test_only_failed_spans_with_everything(caplog):
    """And a text never makes a second line."""
    config = SpanLogConfig(enabled=True, all_attributes=True)
    first, _ = lines(caplog, received_log=config)
    assert "span_service_name=shop span_http_route=/x" in first
    assert 'span_name="a \\"b\\"\\nc"' in first
    assert "span_duration_seconds=0.001 span_kind=SPAN_KIND_SERVER span_status=STATUS_CODE_UNSET" in first
    caplog.clear()
    (only,) = lines(caplog, received_log=SpanLogConfig(enabled=True, errors_only=True))
    assert "spanid=0000000000000002" in only


def test_discarded(caplog):
    """With tenant and reason: for a limit, and for an invalid id."""
    config = SpanLogConfig(enabled=True)
    limits = {"t": TenantLimits(past_slack_ns=1)}
    old = span(1, start_time_unix_nano=1, end_time_unix_nano=2)
    found = lines(caplog, request([old, span(0)]), limits, discarded_log=config)
    assert [line.split(" spanid")[0] for line in found] == [
        "msg=discarded tenant=t reason=invalid_id",
        "msg=discarded tenant=t reason=outside_past_slack",
    ]
