"""Valid tenant names. A name becomes a Kafka key and a part of object paths."""

import re
from functools import lru_cache
from typing import Final

NAME_CHARS_MAX: Final = 150  # Grafana's limit, so that a tenant of Loki or Mimir is one here too
_NAME: Final = re.compile(r"[A-Za-z0-9!\-_.*'()]+")


def valid_tenant(name: str) -> bool:
    """Whether it has 1 to 150 characters of a-z A-Z 0-9 ! - _ . * ' ( ), and is neither . nor .. alone."""
    return len(name) <= NAME_CHARS_MAX and _is_name(name)


@lru_cache(4096)  # every record and request asks for the same few
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name not in {".", ".."}
