"""The tag endpoints: what the backend is asked, and the forms of the answers."""

import json

import pytest

from app.api.tempo.tags import names_v1_json, names_v2_json, values_v1_json, values_v2_json
from query.engine.distinct import TagValue
from query.language import ast
from query.results import Inspected
from query.tags.tags import TagNames, TagValues
from tests.helpers.tempo.frozen import strictly

INSPECTED = Inspected(traces=3, spans=9, bytes=2**40, sources=2)
METRICS = {"inspectedBytes": "1099511627776", "totalJobs": 2, "completedJobs": 2}
NAMES = TagNames({"intrinsic": ("kind", "name"), "resource": ("b", "x"), "span": ("a", "b")}, INSPECTED)
VALUES = TagValues((TagValue("int", "5"), TagValue("string", "5"), TagValue("string", "a")), INSPECTED)


def test_names(ask, backend):
    """v2 tells the scopes, v1 joins them, without intrinsics."""
    backend.names = NAMES
    answer = ask("/api/v2/search/tags")
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.body) == {
        "scopes": [
            {"name": "intrinsic", "tags": ["kind", "name"]},
            {"name": "resource", "tags": ["b", "x"]},
            {"name": "span", "tags": ["a", "b"]},
        ],
        "metrics": METRICS,
    }
    assert json.loads(ask("/api/search/tags").body) == {"tagNames": ["a", "b", "x"], "metrics": METRICS}
    backend.names = TagNames({"intrinsic": ("kind", "name")}, Inspected())
    answer = ask("/api/search/tags", params={"scope": "intrinsic"})
    assert json.loads(answer.body) == {"tagNames": ["kind", "name"], "metrics": {}}


def test_values(ask, backend):
    """v2 tells the types, v1 texts only."""
    backend.values = VALUES
    values = [{"type": "int", "value": "5"}, {"type": "string", "value": "5"}, {"type": "string", "value": "a"}]
    assert json.loads(ask("/api/v2/search/tag/.x/values").body) == {"tagValues": values, "metrics": METRICS}
    assert json.loads(ask("/api/search/tag/x/values").body) == {"tagValues": ["5", "a"], "metrics": METRICS}


def test_nothing(ask):
    """The lists are there when they are empty."""
    assert json.loads(ask("/api/v2/search/tags").body) == {"scopes": [], "metrics": {}}
    assert json.loads(ask("/api/search/tags").body) == {"tagNames": [], "metrics": {}}
    assert json.loads(ask("/api/v2/search/tag/name/values").body) == {"tagValues": [], "metrics": {}}
    assert json.loads(ask("/api/search/tag/name/values").body) == {"tagValues": [], "metrics": {}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(names_v1_json(NAMES, intrinsic=True), "SearchTagsResponse", id="names v1"),
        pytest.param(names_v2_json(NAMES), "SearchTagsV2Response", id="names v2"),
        pytest.param(values_v1_json(VALUES), "SearchTagValuesResponse", id="values v1"),
        pytest.param(values_v2_json(VALUES), "SearchTagValuesV2Response", id="values v2"),
    ],
)
def test_strict_parser(body, message):
    """Answers have no fields that clients of 2025 do not know."""
    assert strictly(body, message).metrics.totalJobs == 2


@pytest.mark.parametrize(
    ("params", "want"),
    [
        pytest.param({}, {}, id="defaults"),
        pytest.param({"scope": "none"}, {}, id="no scope"),
        pytest.param({"scope": ""}, {}, id="empty scope"),
        pytest.param({"scope": "event"}, {"scope": "event"}, id="scope"),
        pytest.param({"q": " { span. "}, {"query": "{ span."}, id="unfinished filter"),
        pytest.param({"start": "5", "end": "6"}, {"start_ns": 5 * 10**9, "end_ns": 6 * 10**9}, id="times"),
        pytest.param({"limit": "5000", "maxStaleValues": "3"}, {"limit": 5000}, id="limits"),
    ],
)
@pytest.mark.parametrize("version", ["", "/v2"])
def test_asked_for_names(ask, backend, version, params, want):
    """What the backend is asked."""
    assert ask(f"/api{version}/search/tags", params=params).status == 200
    defaults = {"tenant": "single-tenant", "scope": None, "query": "", "start_ns": None, "end_ns": None, "limit": 0}
    assert backend.asked == [defaults | want]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        pytest.param("resource.service.name", ast.Attribute("resource", "service.name"), id="resource"),
        pytest.param("span.%22a%20b%22", ast.Attribute("span", "a b"), id="quoted"),
        pytest.param("span.a%2Fb", ast.Attribute("span", "a/b"), id="encoded slash"),
        pytest.param("span.a/values/b", ast.Attribute("span", "a/values/b"), id="plain slash"),
        pytest.param("span.a%0Ab", ast.Attribute("span", "a\nb"), id="line break"),
        pytest.param("span.%22a%0Ab%22", ast.Attribute("span", "a\nb"), id="line break in quotes"),
        pytest.param("span.a%22b", ast.Attribute("span", 'a"b'), id="quote"),
        pytest.param("span.%22a%5C%22b%5Cn%22", ast.Attribute("span", 'a"b\n'), id="escapes"),
        pytest.param("span:kind", ast.Intrinsic("kind"), id="intrinsic"),
    ],
)
def test_asked_for_values(ask, backend, path, field):
    """The tag comes from the path, the rest from the parameters."""
    assert ask(f"/api/v2/search/tag/{path}/values?q=%7B%7D&limit=7&start=1&end=2").status == 200
    (asked,) = backend.asked
    assert asked == {
        "tenant": "single-tenant",
        "fields": (field,),
        "query": "{}",
        "start_ns": 1 * 10**9,
        "end_ns": 2 * 10**9,
        "limit": 7,
        "bytes_max": 0,
    }


def test_asked_for_old_values(ask, backend):
    """A tag of the older API means all attributes of its name."""
    assert ask("/api/search/tag/http.route/values").status == 200
    (asked,) = backend.asked
    assert ast.Attribute("span", "http.route") in asked["fields"]
    assert ast.Attribute("resource", "http.route") in asked["fields"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param("/api/v2/search/tags?scope=bogus", ["scope", "'bogus'", "resource"], id="scope"),
        pytest.param("/api/search/tags?scope=bogus", ["scope", "'bogus'"], id="scope v1"),
        pytest.param("/api/v2/search/tags?limit=-1", ["limit", "'-1'"], id="limit"),
        pytest.param("/api/v2/search/tags?start=x", ["start", "'x'"], id="start"),
        pytest.param("/api/v2/search/tags?start=2&end=1", ["start=2", "end=1"], id="start after end"),
        pytest.param("/api/v2/search/tag/foo/values", ["'foo'", "resource.x"], id="no tag"),
        pytest.param("/api/v2/search/tag/parent.x/values", ["'parent.x'"], id="no such scope"),
        pytest.param("/api/v2/search/tag/.x/values?maxStaleValues=x", ["maxStaleValues"], id="stale values"),
        pytest.param(f"/api/v2/search/tags?q={'x' * 20_001}", ["max_query_expression_size_bytes"], id="long filter"),
    ],
)
def test_bad_parameters(ask, backend, path, words):
    """400 in plain text that names what is wrong, and nothing is asked."""
    answer = ask(path)
    assert answer.status == 400
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert [word for word in words if word not in answer.text] == []
    assert backend.asked == []


@pytest.mark.parametrize("path", ["/api/search/tags", "/api/v2/search/tags", "/api/v2/search/tag/name/values"])
def test_tenant(ask, backend, path):
    """Tags belong to tenants."""
    assert ask(path, multitenancy=True).status == 401
    assert ask(path, multitenancy=True, headers={"X-Scope-OrgID": "team-a"}).status == 200
    assert backend.asked[0]["tenant"] == "team-a"


def test_small_answers_are_made_at_once(ask, backend, monkeypatch):
    """The way to a thread and back takes longer. Large ones go there, however few or short their values are."""
    made = []
    run_in_thread = backend.run_in_thread

    def on_thread(make):
        made.append(make)
        return run_in_thread(make)

    monkeypatch.setattr(backend, "run_in_thread", on_thread)
    for count, chars, at_once in ((0, 0, True), (100, 10, True), (2000, 1, False), (1, 100_000, False)):
        texts = [f"{number}".rjust(chars, "x") for number in range(count)]
        backend.values = TagValues(tuple(TagValue("string", text) for text in texts), INSPECTED)
        backend.names = TagNames({"span": tuple(texts)}, INSPECTED)
        for path in ("/api/v2/search/tag/.x/values", "/api/search/tag/x/values", "/api/v2/search/tags"):
            made.clear()
            answer = ask(path)
            assert all(text in answer.body.decode() for text in texts)
            assert (not made) is at_once, (path, count, chars)
    made.clear()
    ask("/api/search?q={}")
    assert not made  # no trace matches
