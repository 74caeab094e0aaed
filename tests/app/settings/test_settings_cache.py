"""The section cache: Tempo's names, and what does not fit together."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.process.caches import range_cache
from app.settings import Settings
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.storage.cache_server import cache_stub

MEMCACHED = {"roles": ["bloom", "parquet-footer"], "memcached": {"host": "localhost:11211"}}
REDIS = {"roles": ["parquet-page", "frontend-search"], "redis": {"endpoint": "localhost:6379"}}


def settings_with(*caches: Any) -> Settings:
    return Settings.model_validate({"cache": {"caches": list(caches)}})


@pytest.mark.parametrize(
    ("caches", "says"),
    [
        ([{"roles": ["bloom"]}], "set one of them"),
        ([MEMCACHED | {"redis": {"endpoint": "h"}}], "set one of them"),
        ([MEMCACHED, {"roles": ["bloom"], "redis": {"endpoint": "h"}}], "the role bloom is in two caches"),
        ([{"roles": ["nosuch"], "redis": {"endpoint": "h"}}], "'bloom'"),
        ([{"roles": [], "redis": {"endpoint": "h"}}], "at least 1 item"),
        ([{"roles": ["bloom"], "redis": {"endpoint": "h:x"}}], "'h:x' is not host:port"),
        ([{"roles": ["bloom"], "memcached": {"addresses": "a,b:0"}}], "'b:0' is not host:port"),
        ([{"roles": ["bloom"], "memcached": {"host": "a", "addresses": "b"}}], "addresses is set, too"),
    ],
)
def test_what_does_not_fit_together(caches: list[Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        settings_with(*caches)


def test_addresses() -> None:
    one = settings_with({"roles": "bloom", "memcached": {"addresses": "a, b:2, [::1]:3", "timeout": "150ms"}})
    (cache,) = one.cache.caches
    assert cache.memcached.servers == (("a", 11211), ("b", 2), ("::1", 3))
    assert cache.memcached.timeout == 0.15
    assert settings_with(REDIS).cache.caches[0].redis.server == ("localhost", 6379)


def test_roles_that_another_process_filled(tmp_path: Any) -> None:
    """From the settings to a value on the server, under each role that the cache has and no other."""
    store = ObjectStore(StorageConfig("local", str(tmp_path)))
    store.put("a", b"0123456789")
    with cache_stub() as server:
        reader = range_cache(
            settings_with({"roles": "bloom", "redis": {"endpoint": f"127.0.0.1:{server.port}"}}), store
        )
        assert bytes(reader.read("bloom", "a", [(0, 4)])[0]) == b"0123"
        assert bytes(reader.read("parquet-page", "a", [(0, 5)])[0]) == b"01234"
        reader.close()  # writes what waits
        (key,) = server.values
        assert key.startswith(b"stretto:1:bloom:")
