"""The remote-write client: what it sends, to whom, when it sends again, when it gives up."""

import asyncio
import base64

import pytest

from app.remote_write.client import REFUSED, RemoteWriter, remote_writers, retry_after_s
from app.settings.sections.remote_write import RemoteWrite
from tests.helpers.generator.remote_write_target import WRITTEN, Receiver, config, push, send, sent

V2 = "io.prometheus.write.v2.Request"


def test_headers():
    """Those of remote write 1.0, one's own, the tenant."""
    receiver = Receiver()
    assert send(receiver, headers={"X-Mine": "1", "x-scope-orgid": "mine"})[0] == [b"one", b"two"]
    headers = receiver.headers
    assert headers["Content-Encoding"] == "snappy"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["X-Prometheus-Remote-Write-Version"] == "0.1.0"
    assert headers["User-Agent"] == "stretto"
    assert headers["X-Scope-OrgID"] == "t"
    assert "x-scope-orgid" not in headers
    assert headers["X-Mine"] == "1"
    assert "Authorization" not in headers


def test_the_only_tenant_is_not_named():
    """Without multitenancy a receiver need not know of tenants; one's own header stays."""
    receiver = Receiver()
    send(receiver, tenant="single-tenant", headers={"X-Scope-OrgID": "mine"})
    assert receiver.headers["X-Scope-OrgID"] == "mine"


BASIC = "Basic " + base64.b64encode(b"me:p w").decode()


@pytest.mark.parametrize(
    ("changes", "authorization"),
    [
        pytest.param({"user": "me:p%20w@"}, BASIC, id="in the URL"),
        pytest.param({"basic_auth": {"username": "me", "password": "p w"}}, BASIC, id="basic"),
        pytest.param({"basic_auth": {"username": "me", "password_file": "FILE"}}, BASIC, id="basic, from a file"),
        pytest.param({"authorization": {"credentials": "p w"}}, "Bearer p w", id="authorization"),
        pytest.param({"authorization": {"type": "Token", "credentials_file": "FILE"}}, "Token p w", id="type and file"),
        pytest.param({"bearer_token": "p w"}, "Bearer p w", id="bearer token"),
        pytest.param({"bearer_token_file": "FILE"}, "Bearer p w", id="bearer token file"),
    ],
)
def test_credentials(tmp_path, changes, authorization):
    """Each way to say who we are."""
    file = tmp_path / "secret"
    file.write_text("p w\n")
    filled = {
        key: {name: str(file) if text == "FILE" else text for name, text in value.items()}
        if isinstance(value, dict)
        else (str(file) if value == "FILE" else value)
        for key, value in changes.items()
    }
    receiver = Receiver()
    send(receiver, **filled)
    assert receiver.headers["Authorization"] == authorization


def test_a_token_that_is_renewed(tmp_path):
    """The file is read with each request; while it is not there, the push waits."""
    file = tmp_path / "token"

    async def run():
        async with Receiver((401, {})) as receiver:
            sending = asyncio.create_task(sent(receiver, b"one", bearer_token_file=str(file)))
            await asyncio.sleep(0.05)
            assert not receiver.seen
            file.write_text("old")
            while not receiver.seen:
                await asyncio.sleep(0.001)
            file.write_text("new")
            await sending
            tokens = [headers["Authorization"] for _, headers, _ in receiver.seen]
            assert (tokens[0], tokens[-1]) == ("Bearer old", "Bearer new")

    asyncio.run(run())


@pytest.mark.parametrize("status", [500, 503, 429, 401, 404, 302])
def test_sent_again(status):
    """Until it is accepted, and before what comes after it."""
    assert send(Receiver((status, {}), (status, {})))[0] == [b"one", b"one", b"one", b"two"]


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_given_up(status):
    """What is wrong in itself is dropped; what comes after it is sent."""
    assert send(Receiver((status, {})))[0] == [b"one", b"two"]


def test_what_is_sent_again_after_a_restart():
    """That it is refused is no loss: it was taken before."""

    async def run():
        async with Receiver((400, {})) as receiver:
            writer = RemoteWriter(config(receiver), "again", "")
            await writer.send("t", push(b"one", b"two", again=True))
            await writer.close()
            assert receiver.bodies == [b"one", b"two"]

    asyncio.run(run())
    assert not [one for metric in REFUSED.collect() for one in metric.samples if one.labels["target"] == "again"]


def test_retry_after():
    """The receiver says how long to wait."""
    receiver = Receiver((429, {"Retry-After": "1"}))
    send(receiver, b"one")
    assert receiver.seen[1][0] - receiver.seen[0][0] >= 1


def test_version_2():
    """Where it is chosen: its message, its headers; what else was chosen is asked of the push."""
    receiver = Receiver()
    bodies, asked = send(receiver, protobuf_message=V2, send_exemplars=False, queue_config={"max_samples_per_send": 7})
    assert bodies == [b"one in 2.0", b"two in 2.0"]
    assert asked == [(7, 2, False, True)]
    assert receiver.headers["Content-Type"] == f"application/x-protobuf;proto={V2}"
    assert receiver.headers["X-Prometheus-Remote-Write-Version"] == "2.0.0"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((415, {}), id="says so"),
        pytest.param((400, {}), id="an old one that does not understand"),
        pytest.param((204, {}), id="an old one that takes everything: it does not say what it has written"),
    ],
)
def test_version_2_is_not_taken(answer):
    """Then the whole push goes in 1.0, and later ones, too."""

    async def run():
        async with Receiver(answer) as receiver:
            writer = RemoteWriter(config(receiver, protobuf_message=V2), "target", "")
            await writer.send("t", push(b"one"))
            await writer.send("t", push(b"two"))
            await writer.close()
            assert receiver.bodies == [b"one in 2.0", b"one", b"two"]
            assert receiver.headers["Content-Type"] == "application/x-protobuf"

    asyncio.run(run())


def test_a_refusal_in_version_2():
    """One that knows 2.0 and says no means the content: it is dropped."""
    assert send(Receiver((400, WRITTEN)), protobuf_message=V2)[0] == [b"one in 2.0", b"two in 2.0"]


def test_requests_at_once():
    """Of all tenants no more than max_shards; a tenant that is made to wait holds up no other."""

    async def run():
        wait = asyncio.Event()

        async def slow(tenant):
            if tenant == "slow":
                await wait.wait()
            await asyncio.sleep(0.01)

        async with Receiver(wait=slow) as receiver:
            writer = RemoteWriter(config(receiver, queue_config={"max_shards": 2}), "target", "")
            slow_one = asyncio.create_task(writer.send("slow", push(b"slow")))
            async with asyncio.timeout(5):
                await asyncio.gather(*(writer.send(f"t{n}", push(b"x")) for n in range(6)))
            assert receiver.most_at_once == 2
            wait.set()
            await slow_one
            await writer.close()

    asyncio.run(run())


def test_one_that_waits_for_its_next_turn_takes_no_place():
    """A tenant that gets 429 is no request under way."""

    async def run():
        async with Receiver((429, {"Retry-After": "60"})) as receiver:
            writer = RemoteWriter(config(receiver, queue_config={"max_shards": 1}), "target", "")
            limited = asyncio.create_task(writer.send("limited", push(b"x")))
            while not receiver.seen:
                await asyncio.sleep(0.001)
            async with asyncio.timeout(5):
                await writer.send("other", push(b"y"))
            limited.cancel()
            await writer.close()

    asyncio.run(run())


# ---- TLS


def test_names():
    """Targets without a name are called by host and port, and never two alike."""
    urls = ["http://a:1/x", "http://u:p@a:1/y", "http://b/z"]
    named = [RemoteWrite(url=url) for url in urls] + [RemoteWrite(url="http://c", name="mine")]
    assert [one.name for one in remote_writers(tuple(named), "")] == ["a:1", "a:1'", "b", "mine"]


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("", 0), ("7", 7), ("Thu, 01 Jan 1970 00:00:30 GMT", 20), ("Thu, 01 Jan 1970 00:00:05 GMT", 0), ("soon", 0)],
)
def test_retry_after_s(header, wait_s):
    """Seconds or a date; anything else is no wish."""
    assert retry_after_s(header, 10.0) == wait_s
