"""What a rule says about a key of Tempo, and the reasons that several keys share."""

from typing import NamedTuple


class Drop(NamedTuple):
    """Nothing is lost without it."""

    why: str


class Manual(NamedTuple):
    """Somebody has to decide, unless the value says that it is not used."""

    why: str


class Move(NamedTuple):
    """Another place or name. If our settings do not have it, `why` says what holds instead."""

    to: str
    why: str = ""


Rule = Drop | Manual | Move

RING = Drop("Kafka's consumer groups divide the work, and processes announce themselves over Kafka")
CLIENTS = Drop("processes find each other over Kafka, and call each other with limits of their own (server.internal_…)")
LIVE = Drop("the live store has limits of its own: live_store.*")
FLUSH = Drop("what is not in a block yet is in Kafka, and blocks are written again from there")
SLO = Drop("objectives are alerts, and no settings: docker/prometheus/rules")
SHARDS = Drop("queries are divided by the size of their blocks (query_frontend.target_bytes_per_job)")
ONE_FORMAT = Drop("Stretto has one format of blocks: docs/parquet.md")
GO = Drop("is about the Go program")
GRPC = Drop("connections have limits of their own: docs/settings.md, server.*")
LOGS = Drop("there is no such log line")
NETWORK = Drop("always tcp")
CACHES = Drop("the caches have settings of their own: cache.caches")
ONE_KAFKA = Drop("there is one Kafka for all parts: kafka.*")
KAFKA = Drop("Stretto's clients of Kafka choose this themselves")
WHERE_SPANS_ARE = Drop("which spans are in blocks is known exactly, by Kafka's offsets")
RETENTION = Drop("merges and deletes are jobs that compactors share; compactor.merges_max is the limit")
ENTERPRISE = Manual("is a part of Grafana Enterprise Traces; Stretto has tokens of tenants (server.auth_file)")
PROXY = Manual("the API is at /; let the proxy in front of it take the prefix away")
CERTIFICATE = Manual("certificates are files here; write it to one, and set cert_file, key_file or client_ca_file")
TLS = Drop("TLS 1.2 and 1.3 with their usual cipher suites are used")
SASL = Manual("has no counterpart: kafka.sasl knows PLAIN, SCRAM and OAUTHBEARER (token_file, oauth2)")
