"""Parameters may hold any text: they are understood, or refused as the caller's fault."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.errors import ParameterError
from app.api.tempo.old_search import old_query
from app.api.times import INT64_MAX, step_ns, time_range
from query.language.compile import compile_query
from query.requests import SearchRequest
from query.search.search import search

ANY = st.text(st.sampled_from('0123456789.:-+TZsmhn="\\ ') | st.characters(), max_size=40)
# Without blanks, quotes and the equals sign: those end a key.
KEYS = st.text(st.characters(exclude_categories=["Z", "Cs"], exclude_characters='="').filter(lambda c: not c.isspace()))


@given(start=ANY, end=ANY, since=ANY, step=ANY)
def test_times(start, end, since, step):
    """A range within 64 bits and a step that fits it, or an error that says what is wrong."""
    params = {"start": start, "end": end, "since": since, "step": step}
    with contextlib.suppress(ParameterError):
        times = time_range(params)
        assert 0 <= times.start_ns < times.end_ns <= INT64_MAX
        assert 0 < step_ns(params, times) <= INT64_MAX


@settings(deadline=None)  # as below
@given(tags=ANY, least=ANY, most=ANY)
def test_old_parameters(tags, least, most):
    """TraceQL, or an error that says what is wrong."""
    with contextlib.suppress(ParameterError):
        compile_query(old_query({"tags": tags, "minDuration": least, "maxDuration": most}))


@settings(deadline=None)  # the first one also makes the parser
@given(key=KEYS.filter(bool), value=st.text(st.characters(exclude_categories=["Cs"])))
def test_quoted_tags(key, value):
    """Any key and any value can be asked for."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    query = old_query({"tags": f'{key}="{quoted}"'})
    compile_query(query)
    assert not search([], SearchRequest(query=query)).traces
