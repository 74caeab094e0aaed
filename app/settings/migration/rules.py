"""Which key of Tempo is which of ours. What is not here has the same name in both, or the same with `_s` at its end.

Tempo's keys are those of 2.x and 3.x. A rule holds for a key and for everything below it.
"""

from collections.abc import Mapping
from typing import Final

from app.settings.keys import Key
from app.settings.migration.reasons import CERTIFICATE, CLIENTS, ONE_FORMAT, RING, SLO, TLS, Drop, Rule
from app.settings.migration.rules_queries import QUERIES
from app.settings.migration.rules_spans import SPANS

# A name of Tempo that means the same wherever it is.
ANYWHERE: Final[Mapping[str, Rule]] = {
    "ring": RING,
    "partition_ring": RING,
    "override_ring_key": RING,
    "lifecycler": RING,
    "grpc_client_config": CLIENTS,
    "cluster_validation": CLIENTS,
    "duration_slo": SLO,
    "throughput_bytes_slo": SLO,
    "metadata_slo": SLO,
    "tls_cipher_suites": TLS,
    "tls_min_version": TLS,
    # Of memcached.
    "consistent_hash": Drop("keys are spread over all servers by their hash, always"),
    "service": Drop("the host is looked up as it stands, and not as a service (SRV)"),
    "update_interval": Drop("hosts are looked up with each new connection"),
    # Of formats of blocks that Tempo no longer writes, or of how it writes them.
    **dict.fromkeys(
        (
            *("v2_in_buffer_bytes", "v2_out_buffer_bytes", "v2_prefetch_traces_count"),
            *("chunk_size_bytes", "flush_size_bytes", "iterator_buffer_size"),
        ),
        ONE_FORMAT,
    ),
}

RULES: Final[Mapping[Key, Rule]] = {
    tuple(f"{section}.{name}".strip(".").split(".")): rule
    for section, rules in {**SPANS, **QUERIES}.items()
    for name, rule in rules.items()
}
# Sections of Tempo whose keys have rules of their own, or other names here.
DESCEND: Final[frozenset[Key]] = frozenset(key[:end] for key in RULES for end in range(1, len(key)))
# Keys of TLS that are texts in Tempo.
INLINE: Final[Mapping[str, Rule]] = {"cert": CERTIFICATE, "key": CERTIFICATE, "client_ca": CERTIFICATE}
