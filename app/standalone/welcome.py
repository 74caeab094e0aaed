"""The text of `stretto run` once it is ready. README.md shows the same two commands."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from app.receivers.table import RECEIVERS
from app.standalone.ports import Listener

# A digit is a hexadecimal digit: the seconds since 1970 make the ids of each call its own.
_FIRST_TRACE: Final = """\
NOW=$(date +%s); curl -sS http://OTLP/v1/traces -H 'Content-Type: application/json' -d '
  {"resourceSpans": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "hello"}}]},
    "scopeSpans": [{"spans": [{
      "traceId": "5b8efff798038103d269b6'$NOW'", "spanId": "eee19b'$NOW'", "name": "GET /", "kind": 2,
      "startTimeUnixNano": "'$NOW'000000000", "endTimeUnixNano": "'$NOW'250000000"}]}]}]}'"""

_FIND_TRACE: Final = """\
curl -sS -G http://API/api/search --data-urlencode 'q={ resource.service.name = "hello" }'"""


def first_trace(otlp_http: str = "127.0.0.1:4318") -> str:
    """A shell command that sends a trace of one span, with the current time, over OTLP/HTTP in JSON to host:port."""
    return _FIRST_TRACE.replace("//OTLP/", f"//{otlp_http}/")


def find_trace(api: str = "127.0.0.1:3200", scheme: str = "http") -> str:
    """A shell command that searches host:port for the trace of `first_trace`."""
    return _FIND_TRACE.replace("http://API/", f"{scheme}://{api}/")


def welcome(api: Listener, receivers: Mapping[str, Listener], brokers: Sequence[str], logs: Path) -> str:
    """The lines for the terminal. receivers: by their names in `app.receivers.table`"""
    listening = "\n".join(
        f"  {row.label:<21} {row.scheme}{receivers[row.name].local}{_everywhere(receivers[row.name])}"
        for row in RECEIVERS
        if row.name in receivers
    )
    return f"""
Stretto is ready.
  Query API             {"https" if api.tls else "http"}://{api.local}{_everywhere(api)}
{listening}
  Kafka                 {", ".join(brokers)}
  Logs                  {logs}
Ctrl-C stops everything.
{_first_steps(api, receivers["otlp_http"]) if "otlp_http" in receivers else ""}"""


def _first_steps(api: Listener, otlp_http: Listener) -> str:
    return f"""
Send a first trace:

{first_trace(otlp_http.local)}

and find it:

{find_trace(api.local, "https" if api.tls else "http")}
"""


def _everywhere(listener: Listener) -> str:
    return " (all addresses)" if listener.on_all else ""
