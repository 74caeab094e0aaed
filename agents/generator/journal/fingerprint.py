"""Which configurations count alike."""

import hashlib
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Final

import orjson

from agents.generator.config import GeneratorConfig

_VERSION: Final = 2  # of what is saved of a generator; another one whenever that changes
# What may change while a generator runs: what was counted means the same.
_LIMITS: Final = frozenset({"limiter_type", "max_active_series", "max_active_entities", "stale_duration_s"})


@lru_cache(maxsize=1024)  # tenants with settings of their own are few
def fingerprint(config: GeneratorConfig) -> str:
    """Equal for configurations of which one can go on with what the other has counted."""

    def plain(value: Any) -> Any:
        return sorted(value) if isinstance(value, frozenset) else value

    told = {name: plain(value) for name, value in asdict(config).items() if name not in _LIMITS}
    raw = orjson.dumps([_VERSION, told], default=plain, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(raw, digest_size=16).hexdigest()
