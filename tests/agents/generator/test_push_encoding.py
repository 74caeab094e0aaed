"""Two pushes as one, for a receiver that has got neither."""

import pytest

from agents.generator.config import GeneratorConfig
from agents.generator.processors.tenant import TenantGenerator
from agents.generator.push.push import Push, PushPart, folded, push_of
from tests.helpers.generator.generated import DECODER, NOW_MS
from tests.helpers.generator.remote_write import decoded_series
from tests.helpers.live.whole_way import request, span

CALLS = ("__name__", "traces_spanmetrics_calls_total")
NATIVE = ("__name__", "traces_spanmetrics_latency")
MINUTE_MS = 60_000


class Pushes:
    """Collections of one generator; a series ends with the second collection after its last span."""

    def __init__(self) -> None:
        config = GeneratorConfig(stale_duration_s=60, generate_native_histograms="both")
        self.generator = TenantGenerator(config)
        self.number, self.now_ms, self.before_ms = 0, NOW_MS, NOW_MS - 1000

    def of(self, *services: str, after_ms: int = MINUTE_MS) -> Push:
        """A span of each of the services."""
        self.number += 1
        self.before_ms, self.now_ms = self.now_ms, self.now_ms + after_ms
        for number, service in enumerate(services):
            spans = DECODER.decode([request([span(number + 1)], service_name=service)]).spans
            self.generator.add(0, spans, self.now_ms, self.now_ms / 1000)
        part = PushPart(self.generator.collect(self.now_ms / 1000), self.now_ms, self.before_ms + 1)
        return push_of(self.number, part)


def reply(push: Push, metric: tuple[str, str] = CALLS) -> dict[str, list[tuple[int, float]]]:
    """By service: minutes since the beginning, and value; None at its end."""
    out: dict[str, list[tuple[int, float]]] = {}
    for body in push.requests(1000, 1, exemplars=True, natives=True):
        for labels, one in decoded_series([body]).items():
            if metric in labels:
                samples = one.samples + [(native.time_ms, native.count) for native in one.natives]
                values = [((at - NOW_MS) // MINUTE_MS, value if value == value else -1) for at, value in samples]
                out.setdefault(dict(labels)["service"], []).extend(values)
    return out


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        pytest.param(["a", "a"], {"a": [(0, 0), (2, 2)]}, id="goes on: its beginning, its newest value"),
        pytest.param(["a", "ab"], {"a": [(0, 0), (2, 2)], "b": [(1, 0), (2, 1)]}, id="each its own beginning"),
        pytest.param(["a", "b"], {"a": [(0, 0), (1, 1), (2, -1)], "b": [(1, 0), (2, 1)]}, id="ends"),
        pytest.param(["a", "", "a"], {"a": [(0, 0), (1, 1), (2, 0), (3, 1)]}, id="ends and begins anew"),
        pytest.param(["a", "", "a", "", "a"], {"a": [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0), (5, 1)]}, id="twice"),
    ],
)
def test_folded(steps: list[str], says: dict[str, list[tuple[int, float]]]) -> None:
    """What it says of calls and, in other words, of native histograms; it covers all collections."""
    pushes = Pushes()
    one = pushes.of(*steps[0])
    for services in steps[1:]:
        one = folded(one, pushes.of(*services))
    assert reply(one) == says
    for service, samples in reply(one, NATIVE).items():
        counts = [value for _, value in samples]
        assert counts == [max(value, 0) for _, value in says[service]]
    assert (one.first, one.last) == (1, len(steps))


def test_old_samples() -> None:
    """Receivers refuse what is very old: it is dated as the youngest of those that became one."""
    pushes = Pushes()
    one = pushes.of("a", "b")
    one = folded(one, pushes.of("b", after_ms=MINUTE_MS))
    one = folded(one, pushes.of("b", after_ms=MINUTE_MS))
    one = folded(one, pushes.of("b", after_ms=40 * MINUTE_MS))
    assert reply(one) == {"a": [(2, 0), (3, 1), (43, -1)], "b": [(2, 0), (43, 4)]}


def test_without_natives() -> None:
    """A target that does not want native histograms gets no trace of them."""
    push = Pushes().of("a")
    bodies = push.requests(1000, 1, exemplars=True, natives=False)
    assert not any(one.natives for body in bodies for one in decoded_series([body]).values())
