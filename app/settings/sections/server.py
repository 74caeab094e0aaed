"""The settings of the query API's listener, and of TLS for every listener."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.settings.base import Section, conflict
from app.settings.values import KIB, MIB, Bytes, Count, HostPortOrEmpty, HostPorts, Name, Port, PortOrFree, Seconds


class Tls(Section):
    """TLS of a listener. Names are Tempo's and the OpenTelemetry Collector's."""

    cert_file: str = Field(
        default="", description="PEM file with the certificate and its intermediate certificates. Empty: no TLS."
    )
    key_file: str = Field(default="", description="PEM file with the certificate's private key, without a password.")
    client_ca_file: str = Field(
        default="",
        description="PEM file with the CAs of the client certificates. If it is set, every client needs a certificate.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.cert_file) != bool(self.key_file):
            missing, there = ("key_file", "cert_file") if self.cert_file else ("cert_file", "key_file")
            raise conflict(there, f"{there} is set but {missing} is not; set both or neither")
        if self.client_ca_file and not self.cert_file:
            text = "client_ca_file is set but cert_file is not; only over TLS can clients be asked"
            raise conflict("client_ca_file", text)
        return self


HeaderBytes = Annotated[int, Field(ge=KIB, le=16 * MIB)]


class Server(Section):
    http_listen_address: Name = Field(
        default="0.0.0.0",  # noqa: S104  as Tempo: clients are on other machines
        description="Address on which the query API listens. 127.0.0.1 keeps other machines out.",
    )
    http_listen_port: Port = Field(default=3200, description="Port of the query API, for HTTP and gRPC.")
    http_tls_config: Tls = Tls()
    reuse_port: bool = Field(
        default=False,
        description="Whether other processes on this machine may listen on the same addresses; the system divides "
        "connections and datagrams among them (SO_REUSEPORT). `stretto run` sets it for its workers.",
    )
    own_address: HostPortOrEmpty = Field(
        default="",
        description="Address on which this process alone serves the HTTP API, where it shares the other addresses. It "
        "has no TLS. `stretto run` sets it for its workers.",
    )
    worker_addresses: HostPorts = Field(
        default=(),
        description="The `own_address` of all worker processes that share ports with this one: `/metrics` has the "
        "metrics of all of them, with the label `worker`. `stretto run` sets it.",
    )
    http_listen_conn_limit: Count = Field(
        default=2000, description="Most HTTP/1 connections to the query API. Further ones are closed at once."
    )
    grpc_listen_conn_limit: Count = Field(
        default=1000,
        description="Most gRPC connections to the query API; each takes three file descriptors. Further ones are "
        "closed at once.",
    )
    http_server_read_header_timeout_s: Seconds = Field(
        default=10,
        description="Seconds within which a client must send the headers of a request. For the first request the "
        "time starts with the connection.",
    )
    http_server_idle_timeout_s: Seconds = Field(
        default=120, description="Seconds without a request after which an HTTP/1 connection is closed."
    )
    http_server_write_timeout_s: Seconds = Field(
        default=30,
        description="Seconds for which a client may read nothing of its answer. Then its connection is closed.",
    )
    http_header_bytes_max: HeaderBytes = Field(
        default=64 * KIB,
        description="Largest headers of a request, in bytes. The longest query in the URL may take space in addition.",
    )
    grpc_server_max_send_msg_size: Annotated[int, Field(ge=2 * MIB, le=1024 * MIB)] = Field(
        default=4 * MIB,
        description="Largest gRPC message of a streamed answer, in bytes. An answer that must be one message and "
        "is larger is refused. gRPC clients, Grafana's data source among them, accept 4 MiB by "
        "default.",
    )
    grpc_listen_address: Name = Field(
        default="127.0.0.1",
        description="Address on which a process listens for other processes of the cluster. Any other than the "
        "loopback needs `server.internal_token_file`, or `server.internal_tls_config` with `client_ca_file`.",
    )
    grpc_listen_port: PortOrFree = Field(
        default=9095,
        description="Port on which a process listens for other processes of the cluster. 0, and with target `all` the "
        "default: any free port; processes tell each other where they are.",
    )
    internal_token_file: str = Field(
        default="",
        description="File with the token that processes of the cluster show each other, of at least 16 characters. "
        "It may have several, one per line: the first is sent, all are accepted. Empty: no token.",
    )
    internal_tls_config: Tls = Tls()
    internal_tls_server_name: str = Field(
        default="",
        description="Name in the certificates of the cluster's processes. Empty: each certificate has the address "
        "under which its process is called.",
    )
    internal_connections_max: Count = Field(
        default=1000, description="Most other processes that call this one at the same time; others are refused."
    )
    internal_calls_max: Count = Field(
        default=10_000,
        description="Most calls from other processes at the same time; others are refused. A querier holds a call for "
        "each job that it would take at once.",
    )
    internal_message_bytes_max: Bytes = Field(
        default=256 * MIB,
        description="Largest partial answer, in bytes, that a process takes from another one.",
    )
    auth_file: str = Field(
        default="",
        description="YAML file with tenants and the hashes of their tokens (see docs/api.md). If it is set, the "
        "query API and the receivers require a token. Empty: nobody needs one.",
    )
    file_poll_s: Seconds = Field(
        default=5,
        description="Seconds between two checks of the files of tokens and certificates. A file that has changed "
        "is read again.",
    )
    pprof_enabled: bool = Field(
        default=False,
        description="Serve /debug: CPU profiles, tasks, threads and memory of this process, to everyone who may query. "
        "Looking takes some CPU.",
    )
