"""Settings that are read again while the process runs: what counts at once, what waits, and what a bad file does."""

import asyncio
import logging
import os
import signal
import time

import pytest

from app.errors import SettingsError
from app.process.overrides import OverridesFile
from app.process.reload import GOOD, GOOD_AT, WAITING, ReloadOnSignal, SettingsReload
from app.settings import Settings, load
from app.settings.changes import changed, names, with_live

START = """
log_level: info
overrides:
  per_tenant_override_config: tenants.yaml
  defaults: {ingestion: {rate_limit_bytes: 5}}
query_frontend: {search: {max_result_limit: 100}}
"""
TENANTS = "overrides: {a: {ingestion: {rate_limit_bytes: 7}}}"


class Process:
    """Settings and overrides as a process has them."""

    def __init__(self, folder):
        self.folder, self.seen = folder, []
        self.write("stretto.yaml", START)
        self.write("tenants.yaml", TENANTS)
        settings = load({}, folder)
        self.overrides = OverridesFile(settings, {})
        self.reload = SettingsReload(settings, lambda: load({}, folder), self.overrides)
        self.reload.use(self.seen.append)

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def limit(self, tenant):
        return self.overrides.of(tenant).ingestion.rate_limit_bytes

    def now(self):
        return asyncio.run(self.reload.reload())


@pytest.fixture
def process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger().level
    yield Process(tmp_path)
    logging.getLogger().setLevel(level)


def test_nothing_changed(process):
    result = process.now()
    assert str(result) == "settings read again; changed: none"
    assert process.seen == [process.reload.settings]


def test_what_counts_at_once(process):
    process.write(
        "stretto.yaml",
        START.replace("rate_limit_bytes: 5", "rate_limit_bytes: 6")
        .replace("max_result_limit: 100", "max_result_limit: 200")
        .replace("log_level: info", "log_level: error"),
    )
    process.write("tenants.yaml", "overrides: {b: {ingestion: {rate_limit_bytes: 8}}}")
    version, before_s = process.overrides.version, time.time()
    result = process.now()
    assert names(result.applied) == (
        "log_level, query_frontend.search.max_result_limit, overrides.defaults.ingestion.rate_limit_bytes"
    )
    assert result.waiting == []
    assert [process.limit(tenant) for tenant in "abc"] == [6, 8, 6]
    assert process.overrides.version > version
    assert process.seen[-1].query_frontend.search.max_result_limit == 200
    assert logging.getLogger().level == logging.ERROR
    assert GOOD._value.get() == 1
    assert GOOD_AT._value.get() >= before_s
    assert WAITING._value.get() == 0


def test_what_needs_a_restart(process, caplog):
    """It is named in the answer and the log each time, and not used; the rest counts."""
    text = START.replace("bytes: 5", "bytes: 6") + "server: {http_listen_port: 3300}\nquery: {threads: 9}\n"
    process.write("stretto.yaml", text)
    for _ in range(2):
        caplog.clear()
        result = process.now()
        assert str(result).endswith("\nneeds a restart: server.http_listen_port, query.threads")
        assert "needs a restart: server.http_listen_port, query.threads" in caplog.text
        assert WAITING._value.get() == 2
        assert process.reload.settings.query.threads == Settings().query.threads
        assert process.limit("c") == 6
    process.write("stretto.yaml", START)
    assert process.now().waiting == []
    assert WAITING._value.get() == 0


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("stretto.yaml", "serverr: {}\nquery: {threads: 0}\n", "stretto.yaml:2: query.threads: expected"),
        ("stretto.yaml", START.replace("tenants.yaml", "none.yaml"), "none.yaml: cannot be read"),
        ("stretto.yaml", START.replace("rate_limit_bytes: 5", "rate_limit_bytes: -5"), "rate_limit_bytes: expected"),
        ("tenants.yaml", "overrides: {a: {ingestion: {rate_limit: 5}}}", "tenants.yaml:1: overrides.a.ingestion"),
        ("tenants.yaml", "overrides: {a: {forwarders: [f]}}", "'f' is none of distributor.forwarders"),
    ],
)
def test_a_bad_file_changes_nothing(process, caplog, name, text, said):
    process.write(name, text)
    other = "tenants.yaml" if name == "stretto.yaml" else "stretto.yaml"
    # What is right in the other file does not count either.
    good = {"tenants.yaml": TENANTS.replace("7", "70"), "stretto.yaml": START.replace("bytes: 5", "bytes: 50")}
    process.write(other, good[other])
    result = process.now()
    assert said in result.error
    assert said in caplog.text
    assert "those before stay in use" in str(result)
    assert GOOD._value.get() == 0
    assert [process.limit(tenant) for tenant in "ac"] == [7, 5]
    assert process.seen == []
    process.write("stretto.yaml", START)
    process.write("tenants.yaml", TENANTS)
    assert process.now().error == ""
    assert GOOD._value.get() == 1


def test_defaults_that_need_what_needs_a_restart(tmp_path):
    """The defaults name a forwarder that this process does not have yet."""
    running = load({}, tmp_path)
    forwarders = "distributor: {forwarders: [{name: f, otlpgrpc: {endpoints: ['h:1'], tls: {insecure: true}}}]}"
    (tmp_path / "stretto.yaml").write_text(f"{forwarders}\noverrides: {{defaults: {{forwarders: [f]}}}}\n")
    after = load({}, tmp_path)
    assert names(changed(running, after)) == "distributor.forwarders, overrides.defaults.forwarders"
    with pytest.raises(SettingsError, match=r"'f' is none of distributor\.forwarders"):
        with_live(running, after)


def test_set_to_the_default_is_a_change_in_overrides(tmp_path):
    """An entry of the defaults goes before the settings of all."""
    (tmp_path / "stretto.yaml").write_text("overrides: {defaults: {metrics_generator: {collection_interval_s: 15}}}")
    after = load({}, tmp_path)
    assert names(changed(Settings(), after)).endswith("overrides.defaults.metrics_generator.collection_interval_s")


def test_signal(process):
    """SIGHUP, and nothing after the end."""
    seen = []

    async def run():
        service = ReloadOnSignal(process.reload)
        await service.on_start()
        done = asyncio.Event()
        process.reload.use(lambda settings: (seen.append(settings), done.set()))
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(done.wait(), 10)
        await service.on_stop()
        os.kill(os.getpid(), signal.SIGHUP)

    before = signal.getsignal(signal.SIGHUP)
    try:
        asyncio.run(run())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(seen) == 1
