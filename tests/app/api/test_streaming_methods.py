"""Each method of tempopb.StreamingQuerier is answered and documented."""

from app.api.proto import tempo_pb2 as pb
from app.api.tempo import streaming
from app.api.tempo.streaming import METHODS
from tests.helpers.files import ROOT


def test_methods_are_documented():
    """docs/api.md has a row for each method, with the endpoint that asks the same."""
    text = (ROOT / "docs" / "api.md").read_text()
    assert all(f"| `{name}` | `GET /api/" in text for name in METHODS)
    assert all(f"`{code.name}`" in text for code in streaming.CODES.values())


def test_every_method_of_the_service_is_answered():
    assert set(pb.DESCRIPTOR.services_by_name["StreamingQuerier"].methods_by_name) == set(METHODS)
