# ruff: noqa: E501  (a case is a line of a table, its error text is one line too)
"""What is said about wrong settings: file, line, key, what is expected, the nearest known key."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import SettingsError
from app.settings import load
from app.settings.document import read
from app.settings.keys import field_at, fields, leaves, nearest, variable

UNQUOTED = "put it in quotes"


def errors_of(cwd, text, environ=None):
    (cwd / "stretto.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(environ or {}, cwd)
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Unknown keys.
        pytest.param("\nserver:\n  http_port: 1", "stretto.yaml:3: server.http_port: unknown key; the nearest known key is server.http_listen_port", id="neighbour"),
        pytest.param("http_listen_port: 1", "stretto.yaml:1: http_listen_port: unknown key; the nearest known key is server.http_listen_port", id="elsewhere"),
        pytest.param("Kafka: {}", "stretto.yaml:1: Kafka: unknown key; the nearest known key is kafka", id="upper case"),
        pytest.param("on: 1", "stretto.yaml:1: on: unknown key; the nearest known key is ", id="a key is text, not true"),
        pytest.param("a: &a {target: all}\n<<: *a", "stretto.yaml:2: <<: unknown key; the nearest known key is ", id="merge key"),
        pytest.param("metrics_generator:\n  storage:\n    remote_write:\n    - url: http://a\n    - urll: http://b", "stretto.yaml:5: metrics_generator.storage.remote_write[1].urll: unknown key; the nearest known key is metrics_generator.storage.remote_write[1].url", id="within a list"),
        pytest.param("kafka: {topic: a,\n  address: [b],\n  partition: 3}", "stretto.yaml:3: kafka.partition: unknown key; the nearest known key is kafka.partitions", id="flow style"),
        # Wrong types and ranges.
        pytest.param("server: {http_listen_port: abc}", "stretto.yaml:1: server.http_listen_port: expected an integer from 1 to 65535; got the text 'abc'", id="text for a number"),
        pytest.param("server: {http_listen_port: '80'}", "stretto.yaml:1: server.http_listen_port: expected an integer from 1 to 65535; got the text '80'", id="quoted number"),
        pytest.param("server: {http_listen_port: 70000}", "stretto.yaml:1: server.http_listen_port: expected an integer from 1 to 65535; got the number 70000", id="out of range"),
        pytest.param("server: {http_listen_port: 1.5}", "stretto.yaml:1: server.http_listen_port: expected an integer from 1 to 65535; got the number 1.5", id="fraction"),
        pytest.param("query: {threads: true}", "stretto.yaml:1: query.threads: expected an integer from 1 to 1024; got true", id="truth for a number"),
        pytest.param("query: {timeout_s: .inf}", "stretto.yaml:1: query.timeout_s: expected a number above 0, at most 315360000; got the number inf", id="infinite"),
        pytest.param("query: {threads: }", "stretto.yaml:1: query.threads: expected an integer from 1 to 1024; got nothing", id="nothing"),
        pytest.param("kafka: {topic: 7}", f"stretto.yaml:1: kafka.topic: expected a name of letters, digits, dots, hyphens and underscores; got the number 7; {UNQUOTED}", id="number for text"),
        pytest.param("kafka: {topic: a b}", "stretto.yaml:1: kafka.topic: expected a name of letters, digits, dots, hyphens and underscores; got the text 'a b'", id="no topic"),
        pytest.param("kafka: {address: []}", "stretto.yaml:1: kafka.address: expected a list, or text with commas; got an empty list", id="empty list"),
        pytest.param("kafka:\n  address:\n  - a:1\n  - 5", "stretto.yaml:4: kafka.address[1]: expected text; got the number 5", id="list's item"),
        pytest.param("kafka: {address: 'a:x'}", "stretto.yaml:1: kafka.address[0]: expected host:port with a port from 1 to 65535, as 0.0.0.0:4317; got the text 'a:x'", id="no address"),
        pytest.param("kafka: 3", "stretto.yaml:1: kafka: expected a mapping; got the number 3", id="number for a section"),
        pytest.param("kafka: [a]", "stretto.yaml:1: kafka: expected a mapping; got a list", id="list for a section"),
        pytest.param("multitenancy_enabled: 1", "stretto.yaml:1: multitenancy_enabled: expected true or false; got the number 1", id="number for truth"),
        pytest.param("storage:\n  trace: {backend: s33}", "stretto.yaml:2: storage.trace.backend: expected one of local, s3, gcs, azure; got the text 's33', the nearest is s3", id="none of these"),
        pytest.param("data_dir: ''", "stretto.yaml:1: data_dir: expected a path that is not empty; got the text ''", id="empty path"),
        pytest.param("log_level: " + "x" * 99, "stretto.yaml:1: log_level: expected one of debug, info, warn, error; got the text '" + "x" * 60 + "'…, the nearest is ", id="long"),
        pytest.param("metrics_generator: {storage: {remote_write: [{}]}}", "stretto.yaml:1: metrics_generator.storage.remote_write[0].url: is not set; expected an http or https URL", id="missing"),
        pytest.param("metrics_generator: {storage: {remote_write: [3]}}", "stretto.yaml:1: metrics_generator.storage.remote_write[0]: expected a mapping; got the number 3", id="no mapping in a list"),
        pytest.param("metrics_generator: {storage: {remote_write: [{url: 'ftp://x'}]}}", "stretto.yaml:1: metrics_generator.storage.remote_write[0].url: expected a URL as http://host:port/path or https://host/path; got the text 'ftp://x'", id="no URL"),
        # What does not fit together.
        pytest.param("kafka: {otlp_topic: spans}", "stretto.yaml:1: kafka.otlp_topic: must differ from kafka.topic: their records differ in format", id="same topics"),
        pytest.param("kafka: {compaction_topic: otlp_spans}", "stretto.yaml:1: kafka.compaction_topic: must differ from kafka.otlp_topic: its records are jobs", id="jobs among spans"),
        pytest.param("compactor: {compaction: {compacted_block_retention: 90s}}", "stretto.yaml:1: compactor.compaction.compacted_block_retention: must be at least two storage.trace.blocklist_poll_s and one query.timeout_s (120 s), or queries lose the blocks that they read", id="grace too short"),
        pytest.param("compactor: {compaction: {input_blocks_max: 8}}", "stretto.yaml:1: compactor.compaction.input_blocks_max: must not be less than compactor.compaction.input_blocks_min (16)", id="most below least"),
        # Durations.
        pytest.param("compactor: {compaction: {block_retention: 2 weeks}}", "stretto.yaml:1: compactor.compaction.block_retention: expected a duration, as 336h, 1h30m or 90s, or a number of seconds; got the text '2 weeks'", id="no duration"),
        pytest.param("compactor: {compaction: {block_retention: 0s}}", "stretto.yaml:1: compactor.compaction.block_retention: expected a duration as 336h, 1h30m or 90s, or a number of seconds, above 0; got the text '0s'", id="no time at all"),
        pytest.param("compactor: {compaction: {block_retention: true}}", "stretto.yaml:1: compactor.compaction.block_retention: expected a duration as 336h, 1h30m or 90s, or a number of seconds, above 0; got true", id="truth for a duration"),
        pytest.param("storage:\n  trace:\n    backend: azure", "stretto.yaml:3: storage.trace.backend: azure needs storage.trace.azure.container_name and storage.trace.azure.storage_account_name to be set", id="backend without its section"),
        pytest.param("storage: {trace: {s3: {access_key: a}}}", "stretto.yaml:1: storage.trace.s3.access_key: access_key is set but secret_key is not; set both or neither", id="half of the keys"),
        pytest.param("storage: {trace: {s3: {session_token: a}}}", "stretto.yaml:1: storage.trace.s3.session_token: belongs to access_key and secret_key, which are not set", id="a token alone"),
        pytest.param("storage: {trace: {s3: {access_key: a, secret_key: b, native_aws_auth_enabled: true}}}", "stretto.yaml:1: storage.trace.s3.native_aws_auth_enabled: has no effect with access_key; set one of them", id="two ways to AWS"),
        pytest.param("storage: {trace: {s3: {sse: {kms_key_id: a}}}}", "stretto.yaml:1: storage.trace.s3.sse.kms_key_id: is used by type SSE-KMS only", id="a key for nothing"),
        pytest.param("storage: {trace: {s3: {sse: {type: SSE-C}}}}", "stretto.yaml:1: storage.trace.s3.sse.encryption_key: is needed by type SSE-C, and used by no other type", id="SSE-C without its key"),
        pytest.param("storage: {trace: {s3: {sse: {type: SSE-C, encryption_key: hush}}}}", "stretto.yaml:1: storage.trace.s3.sse.encryption_key: expected 32 characters (bytes of UTF-8)", id="SSE-C with half a key"),
        pytest.param("storage: {trace: {s3: {sse: {kms_encryption_context: '{}'}}}}", "stretto.yaml:1: storage.trace.s3.sse.kms_encryption_context: is not supported: Stretto cannot send the context with a request; remove it, and allow the key without a context", id="a setting of Tempo alone"),
        pytest.param("storage: {trace: {pool: {max_workers: 3}}}", "stretto.yaml:1: storage.trace.pool: is not supported: set concurrent_requests_max", id="a section of Tempo alone"),
        pytest.param("storage: {trace: {s3: {tls_cert_path: a}}}", "stretto.yaml:1: storage.trace.s3.tls_cert_path: is not supported: Stretto sends no client certificate to a storage", id="a client certificate"),
        pytest.param("storage: {trace: {s3: {endpoint: 'a:1', insecure: true, tls_ca_path: b}}}", "stretto.yaml:1: storage.trace.s3.tls_ca_path: has no effect, because the endpoint is http", id="certificates for http"),
        pytest.param("storage: {trace: {s3: {endpoint: 'https://a', insecure: true}}}", "stretto.yaml:1: storage.trace.s3.insecure: has no effect on an endpoint with https://; remove one of them", id="insecure https"),
        pytest.param("storage: {trace: {s3: {retry_backoff_initial: 2s}}}", "stretto.yaml:1: storage.trace.s3.retry_backoff_initial: must not be more than retry_backoff_max", id="first wait above the longest"),
        pytest.param("storage: {trace: {s3: {hedge_requests_up_to: 3}}}", "stretto.yaml:1: storage.trace.s3.hedge_requests_up_to: has no effect without hedge_requests_at; set it, or remove this", id="hedging without a time"),
        pytest.param("storage: {trace: {backend: s3, s3: {bucket: b, hedge_requests_at: 10s}}}", "stretto.yaml:1: storage.trace.s3.hedge_requests_at: has no effect, because read_timeout_s ends the read before", id="hedging too late"),
        pytest.param("storage: {trace: {s3: {hedge_requests_at: soon}}}", "stretto.yaml:1: storage.trace.s3.hedge_requests_at: expected a duration, as 336h, 1h30m or 90s, or a number of seconds; got the text 'soon'", id="no duration"),
        pytest.param("storage: {trace: {s3: {tags: a}}}", "stretto.yaml:1: storage.trace.s3.tags: expected a mapping, or name=value with commas between; got the text 'a'", id="no tags"),
        pytest.param("storage: {trace: {gcs: {endpoint: 'http://a'}}}", "stretto.yaml:1: storage.trace.gcs.endpoint: http would show credentials to everybody; use https, or set insecure", id="http to Google"),
        pytest.param("storage: {trace: {gcs: {insecure: true}}}", "stretto.yaml:1: storage.trace.gcs.insecure: is for an emulator; set endpoint, or remove this", id="insecure Google"),
        pytest.param("storage: {trace: {azure: {storage_account_key: a, use_managed_identity: true}}}", "stretto.yaml:1: storage.trace.azure.use_managed_identity: storage_account_key is set, too; set one of them", id="two ways to Azure"),
        pytest.param("storage: {trace: {azure: {user_assigned_id: a}}}", "stretto.yaml:1: storage.trace.azure.user_assigned_id: has no effect without use_managed_identity", id="an id for nothing"),
        pytest.param("target: all\nstorage: {trace: {blocklist_poll_s: 40}}", "stretto.yaml:2: live_store.flushed_retention_s: must be at least two storage.trace.blocklist_poll_s (80), or queries miss new blocks", id="line of the other key"),
        pytest.param("live_store: {segment_age_s: 400}", "stretto.yaml:1: live_store.block_age_s: must not be less than live_store.segment_age_s (400)", id="blocks younger than segments"),
        pytest.param("kafka: {retention_s: 60}", "stretto.yaml:1: kafka.retention_s: must be at least two live_store.block_age_s (600), or Kafka forgets spans before they are in a block", id="Kafka forgets"),
        pytest.param("query_frontend: {search: {max_result_limit: 10}}", "stretto.yaml:1: query_frontend.search.max_result_limit: must be 0 or at least query_frontend.search.default_result_limit (20)", id="limits"),
        pytest.param("distributor: {input: {bytes_max: 2000000}}", "stretto.yaml:1: distributor.receivers.otlp.protocols.grpc.max_recv_msg_size_mib: twice 67108864 bytes are more than a tenant's share of distributor.input.bytes_max (1000000); make this one smaller or that one larger", id="a request that never fits"),
        # Kafka.
        pytest.param('kafka: {sasl: {mechanism: PLAIN}}', 'stretto.yaml:1: kafka.sasl.mechanism: PLAIN needs username, and password or password_file', id='SASL without a user'),
        pytest.param('kafka: {sasl: {username: a, password: hush}}', 'stretto.yaml:1: kafka.sasl.mechanism: is not set, but a user is', id='a user without SASL'),
        pytest.param('kafka: {sasl: {mechanism: PLAIN, username: a, password: hush, password_file: b}}', 'stretto.yaml:1: kafka.sasl.password_file: password is set, too; set one of them', id='two passwords'),
        pytest.param('kafka: {sasl: {mechanism: GSSAPI}}', "stretto.yaml:1: kafka.sasl.mechanism: expected one of , PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER; got the text 'GSSAPI', the nearest is PLAIN", id='an unknown mechanism'),
        pytest.param('kafka: {sasl: {mechanism: PLAIN, username: a, password: hush, token_file: b}}', 'stretto.yaml:1: kafka.sasl.token_file: is used by mechanism OAUTHBEARER only', id='a token for PLAIN'),
        pytest.param('kafka: {sasl: {mechanism: OAUTHBEARER}}', 'stretto.yaml:1: kafka.sasl.mechanism: OAUTHBEARER needs one of token_file and oauth2.token_url', id='OAUTHBEARER without a token'),
        pytest.param("kafka: {sasl: {mechanism: OAUTHBEARER, token_file: a, oauth2: {token_url: 'https://a', client_id: b, client_secret: hush}}}", 'stretto.yaml:1: kafka.sasl.mechanism: OAUTHBEARER needs one of token_file and oauth2.token_url', id='two tokens'),
        pytest.param("kafka: {sasl: {mechanism: OAUTHBEARER, oauth2: {token_url: 'https://a:hush@b', client_id: b, client_secret: hush}}}", 'stretto.yaml:1: kafka.sasl.oauth2.token_url: names a user; set client_id and client_secret instead', id="a user in the token's URL"),
        pytest.param("kafka: {sasl: {mechanism: OAUTHBEARER, oauth2: {token_url: 'https://a'}}}", 'stretto.yaml:1: kafka.sasl.oauth2.token_url: needs client_id, and client_secret or client_secret_file', id='a token endpoint without a client'),
        pytest.param('kafka: {tls: {ca_file: a}}', 'stretto.yaml:1: kafka.tls.ca_file: has no effect without kafka.tls.enabled; set that to true, or remove this', id='TLS of Kafka that is off'),
        pytest.param('kafka: {tls: {enabled: true, cert_file: a}}', 'stretto.yaml:1: kafka.tls.cert_file: cert_file is set but key_file is not; set both or neither', id='half of a pair for Kafka'),
        pytest.param('distributor: {receivers: {kafka: {traces: [{topics: []}]}}}', 'stretto.yaml:1: distributor.receivers.kafka.traces[0].topics: expected a list, or text with commas; got an empty list', id='no topics'),
        pytest.param('distributor: {receivers: {kafka: {traces: [{topics: [a], encoding: raw}]}}}', "stretto.yaml:1: distributor.receivers.kafka.traces[0].encoding: expected one of otlp_proto, otlp_json, jaeger_proto, jaeger_json, zipkin_proto, zipkin_json, zipkin_thrift; got the text 'raw', the nearest is otlp_proto", id='no encoding of spans'),
        pytest.param("distributor: {receivers: {kafka: {traces: [{topics: ['^(']}]}}}", "stretto.yaml:1: distributor.receivers.kafka.traces[0].topics[0]: not a regular expression: missing ), unterminated subpattern at position 1; got the text '^('", id='no expression'),
        pytest.param("distributor: {receivers: {kafka: {traces: [{topics: ['a b']}]}}}", "stretto.yaml:1: distributor.receivers.kafka.traces[0].topics[0]: expected a topic's name, or a regular expression that begins with ^; got the text 'a b'", id='no topic'),
        pytest.param('distributor: {receivers: {kafka: {traces: [{topics: [a], tenant_from: setting}]}}}', 'stretto.yaml:1: distributor.receivers.kafka.traces[0].tenant_from: setting needs tenant; set it', id='no tenant'),
        pytest.param('distributor: {receivers: {kafka: {traces: [{topics: [spans]}]}}}', 'stretto.yaml:1: distributor.receivers.kafka.traces: spans is kafka.topic already', id='own topic as another'),
        pytest.param('distributor: {receivers: {kafka: {traces: [{topics: [a]}, {topics: [b, a]}]}}}', 'stretto.yaml:1: distributor.receivers.kafka.traces: two entries name topic a', id='a topic twice'),
        pytest.param('distributor: {receivers: {kafka: {dead_letter_topic: a, traces: [{topics: [a]}]}}}', 'stretto.yaml:1: distributor.receivers.kafka.dead_letter_topic: is a topic of the list traces, too', id='dead letters read'),
        pytest.param('distributor: {receivers: {kafka: {dead_letter_topic: spans}}}', 'stretto.yaml:1: distributor.receivers.kafka.dead_letter_topic: must differ from kafka.topic', id='dead letters as spans'),
        pytest.param('distributor: {receivers: {kafka: {brokers: [a]}}}', 'stretto.yaml:1: distributor.receivers.kafka.brokers: is not set here: Stretto has one Kafka; see kafka.address', id="the Collector's brokers"),
        # Variables in the file.
        pytest.param("a: b\nkafka:\n  topic: ${NOPE}", "stretto.yaml:3: kafka.topic: the variable NOPE is not set; set it, or write ${NOPE:-default}", id="unset"),
        pytest.param("kafka: {address: [a:1,\n ${NOPE}]}", "stretto.yaml:2: kafka.address[1]: the variable NOPE is not set; set it, or write ${NOPE:-default}", id="unset in a list"),
        pytest.param("kafka:\n  ${NOPE}: 1", "stretto.yaml:2: kafka: the variable NOPE is not set; set it, or write ${NOPE:-default}", id="unset in a key"),
        pytest.param("kafka:\n  topic: 'a\n    ${NOPE}'", "stretto.yaml:3: kafka.topic: the variable NOPE is not set; set it, or write ${NOPE:-default}", id="line of the variable"),
        pytest.param("query: {threads: ${N-1}}", "stretto.yaml:1: query.threads: ${N-1} is not understood; write ${NAME} or ${NAME:-default}, and $${ for ${ itself", id="half a default"),
        pytest.param("query: {threads: ${N:-${M:-1}}}", "stretto.yaml:1: query.threads: ${N:-${M:-1}} is not understood; write ${NAME} or ${NAME:-default}, and $${ for ${ itself", id="one in the other"),
        pytest.param("query: {threads: ${N}", "stretto.yaml:1: not YAML: while parsing a flow mapping, expected ',' or '}', but got '<stream end>'", id="brace lost"),
        # YAML.
        pytest.param("server: {http_listen_port: 1}\ntarget: all\nserver: {}", "stretto.yaml:3: server: the key is there twice, first at line 1; remove one", id="twice"),
        pytest.param("kafka: {topic: a,\n topic: b}", "stretto.yaml:2: kafka.topic: the key is there twice, first at line 1; remove one", id="twice, flow style"),
        pytest.param("a: [b\nc: d", "stretto.yaml:2: not YAML: while parsing a flow sequence, expected ',' or ']', but got ':'", id="syntax"),
        pytest.param("a: b\n---\nc: d", "stretto.yaml:2: not YAML: expected a single document in the stream, but found another document", id="two documents"),
        pytest.param("target: all\n# \x07", "stretto.yaml:2: not YAML: the character U+0007 is not allowed", id="control character"),
        pytest.param('a: "\\${X}"', "stretto.yaml:1: not YAML: while scanning a double-quoted scalar, found unknown escape character '$'", id="escaped dollar"),
        pytest.param("- a", "stretto.yaml:1: expected a mapping, as `server:` with keys below it", id="a list"),
        pytest.param("data_dir: !!python/name:os.getcwd ''", "stretto.yaml:1: data_dir: the YAML tag tag:yaml.org,2002:python/name:os.getcwd is not used here; remove it", id="tag"),
        pytest.param("kafka: {address: !!set {a}}", "stretto.yaml:1: kafka.address: the YAML tag tag:yaml.org,2002:set is not used here; remove it", id="tag of a mapping"),
        pytest.param("query: {threads: !!int x}", "stretto.yaml:1: query.threads: expected an integer from 1 to 1024; got the text 'x'", id="tag that does not fit"),
        pytest.param("? [a]\n: b", "stretto.yaml:1: a key: a key must be a plain word", id="a list as key"),
        pytest.param("a: &x [*x]", "stretto.yaml:1: nested too deeply, or an alias (*) within what it stands for", id="endless"),
        pytest.param("[" * 3000, "stretto.yaml:1: nested too deeply, or an alias (*) within what it stands for", id="deep"),
    ],
)  # fmt: skip
def test_file_error(tmp_path, text, expected):
    """A wrong file is refused with a line that begins like this."""
    assert any(line.startswith(expected) for line in errors_of(tmp_path, text)), errors_of(tmp_path, text)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({"PORT": "x"}, "variable PORT: server.http_listen_port: expected an integer from 1 to 65535; got the text 'x'", id="PORT"),
        pytest.param({"HONCHO_PROCESS_NAME": "live-store"}, "variable HONCHO_PROCESS_NAME: expected the name of a process and its number, as live-store.2; got the text 'live-store'", id="HONCHO_PROCESS_NAME"),
        pytest.param({"TARGET": "live_store"}, "variable TARGET: target: 'live_store' is no target; expected all, scalable-single-binary, distributor, live-store, metrics-generator, compactor, query-frontend, querier, or some of them separated by commas; got the text 'live_store'", id="TARGET"),
        pytest.param({"KAFKA_URL": "a:1,kafka+ssl://u:pw@b:2"}, "variable KAFKA_URL: kafka.address[1]: expected host:port or kafka://host:port; TLS and SASL are set with kafka.tls and kafka.sasl; got the text 'kafka+ssl://***@b:2'", id="KAFKA_URL"),
        pytest.param({"KAFKA_URL": "a:1/x"}, "variable KAFKA_URL: kafka.address[0]: expected host:port with a port from 1 to 65535, as 0.0.0.0:4317; got the text 'a:1/x'", id="KAFKA_URL with a path"),
        pytest.param({"REMOTE_WRITE_URL": "u:pw@host"}, "variable REMOTE_WRITE_URL: metrics_generator.storage.remote_write[0].url: expected a URL as http://host:port/path or https://host/path; got the text '***@host'", id="REMOTE_WRITE_URL"),
        pytest.param({"STORAGE_URL": "ftp://b"}, "variable STORAGE_URL: expected file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix; got the text 'ftp://b'", id="STORAGE_URL"),
        pytest.param({"STORAGE_URL": "file://data/x"}, "variable STORAGE_URL: expected file:///path, s3://", id="a file's host"),
        pytest.param({"STORAGE_URL": "s3:///a"}, "variable STORAGE_URL: expected file:///path, s3://", id="no bucket"),
        pytest.param({"STORAGE_URL": "s3://[a"}, "variable STORAGE_URL: expected file:///path, s3://", id="no URL"),
        pytest.param({"STORAGE_URL": "s3://key:pw@b/p"}, "variable STORAGE_URL: expected no user, ? or # in the URL; set keys and endpoints by their own settings, as STRETTO_STORAGE__TRACE__S3__ENDPOINT; got the text 's3://***@b/p'", id="password in STORAGE_URL"),
        pytest.param({"STORAGE_URL": "az://c"}, "variable STORAGE_URL: storage.trace.backend: azure needs storage.trace.azure.storage_account_name to be set", id="az without account"),
        pytest.param({"STRETTO_SERVER__HTTP_PORT": "1"}, "variable STRETTO_SERVER__HTTP_PORT: there is no such setting; the nearest known variable is STRETTO_SERVER__HTTP_LISTEN_PORT", id="unknown"),
        pytest.param({"STRETTO_SERVER_HTTP_LISTEN_PORT": "1"}, "variable STRETTO_SERVER_HTTP_LISTEN_PORT: there is no such setting; the nearest known variable is STRETTO_SERVER__HTTP_LISTEN_PORT", id="one underscore"),
        pytest.param({"STRETTO_CONFG": "1"}, "variable STRETTO_CONFG: there is no such setting; the nearest known variable is STRETTO_CONFIG", id="STRETTO_CONFIG misspelt"),
        pytest.param({"STRETTO_PORT": "1"}, "variable STRETTO_PORT: there is no such setting", id="no service of Kubernetes"),
        pytest.param({"STRETTO_SERVER": "1"}, "variable STRETTO_SERVER: server is a section, not a setting; set its keys, as STRETTO_SERVER__HTTP_LISTEN_ADDRESS", id="section"),
        pytest.param({"STRETTO_QUERY__THREADS": ""}, "variable STRETTO_QUERY__THREADS: query.threads: expected an integer from 1 to 1024; got the text ''", id="empty"),
        pytest.param({"STRETTO_KAFKA__ADDRESS": "[a"}, "variable STRETTO_KAFKA__ADDRESS: kafka.address[0]: expected host:port", id="no YAML"),
        pytest.param({"STRETTO_METRICS_GENERATOR__STORAGE__REMOTE_WRITE": "[" * 3000}, "variable STRETTO_METRICS_GENERATOR__STORAGE__REMOTE_WRITE: metrics_generator.storage.remote_write: expected a list of {url, name, headers, …}; got the text", id="deep YAML"),
    ],
)  # fmt: skip
def test_environment_error(tmp_path, environ, expected):
    """A wrong variable is refused with a line that begins like this."""
    (line,) = errors_of(tmp_path, "", environ)
    assert line.startswith(expected)


def test_all_errors_at_once(tmp_path):
    """Every fault has a line: the file's in its order, then the environment's."""
    text = "nope: 1\nserver: {http_listen_port: x}\nkafka: {topic: ${A}, otlp_topic: ${B}}\nnope: 2\n"
    environ = {"TARGET": "x", "STRETTO_NOPE": "1", "STORAGE_URL": "x"}
    starts = [": ".join(line.split(": ")[:2]) for line in errors_of(tmp_path, text, environ)]
    assert starts == [
        "stretto.yaml:1: nope",
        "stretto.yaml:2: server.http_listen_port",
        "stretto.yaml:3: kafka.otlp_topic",
        "stretto.yaml:3: kafka.topic",
        "stretto.yaml:4: nope",
        "variable STORAGE_URL: expected file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix; got the text 'x'",
        "variable STRETTO_NOPE: there is no such setting; the nearest known variable is STRETTO_WORKER",
        "variable TARGET: target",
    ]


def test_the_environment_replaces_a_value_but_not_its_unset_variable(tmp_path):
    """The file must be good by itself; what replaces it is checked too."""
    assert errors_of(tmp_path, "kafka: {address: [a:1, '${B}']}", {"KAFKA_URL": "c:1,d:x"}) == [
        "stretto.yaml:1: kafka.address[1]: the variable B is not set; set it, or write ${B:-default}",
        "variable KAFKA_URL: kafka.address[1]: expected host:port with a port from 1 to 65535, as 0.0.0.0:4317; got the text 'd:x'",
    ]


def test_a_broken_file_does_not_hide_the_environment(tmp_path):
    """Where the file is no YAML, unknown variables are still named."""
    assert [line.split(": ")[0] for line in errors_of(tmp_path, "a: [", {"STRETTO_NOPE": "1"})] == [
        "stretto.yaml:1",
        "variable STRETTO_NOPE",
    ]


def test_secrets_are_not_in_errors(tmp_path):
    """A secret of the wrong type, or one that stands elsewhere, is not shown."""
    text = "storage: {trace: {s3: {secret_key: 31415}, azure: {storage_account_key: [hush]}, secret_key: hush}}"
    lines = "\n".join(errors_of(tmp_path, text))
    assert "31415" not in lines
    assert "hush" not in lines
    assert f"storage.trace.s3.secret_key: expected text; got a value that is not shown; {UNQUOTED}" in lines


@pytest.mark.parametrize("content", [pytest.param(b"a: \xff", id="Latin-1"), pytest.param(None, id="a folder")])
def test_unreadable_file(tmp_path, content):
    """A file that cannot be read as text is named."""
    path = tmp_path / "stretto.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"stretto\.yaml:1: not UTF-8 text|stretto\.yaml: .* cannot be read"):
        load({}, tmp_path)


@settings(deadline=None)  # the first call builds tables
@given(st.text() | st.text(alphabet="${}:-AB_ \n'\"[],&*!#|\ue000\ue001"))
def test_no_text_breaks_the_reader(text):
    """Any text is either read or refused: nothing is raised."""
    document = read(text, "x.yaml", {"A": "1"})
    assert document.readable or document.problems
    assert all(1 <= problem.place.line <= text.count("\n") + 2 for problem in document.problems if problem.place)


@pytest.mark.parametrize("key", [pytest.param(key, id=variable(key)) for key in leaves()])
def test_every_setting_is_nearest_to_its_own_misspelling(key):
    """One letter too many: the setting itself is proposed."""
    *above, name = key
    wrong = (*above, f"{name}s")
    if field_at(wrong) is None:
        assert nearest(wrong) == ".".join(key)


def test_sections_are_not_settings():
    """The leaves are the fields that are no sections."""
    assert ("server",) in fields()
    assert ("server",) not in leaves()
    assert ("metrics_generator", "storage", "remote_write") in leaves()
