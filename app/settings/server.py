"""The settings of all listeners: the query API, and the OTLP receivers."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.settings.base import Section, conflict
from app.settings.values import KIB, MIB, Count, HeaderNames, HostPort, Name, Origins, Port, Seconds


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
    auth_file: str = Field(
        default="",
        description="YAML file with tenants and the hashes of their tokens (see docs/api.md). If it is set, the "
        "query API and the OTLP receivers require a token. Empty: nobody needs one.",
    )
    file_poll_s: Seconds = Field(
        default=5,
        description="Seconds between two checks of the files of tokens and certificates. A file that has changed "
        "is read again.",
    )
    pprof_enabled: bool = Field(
        default=False,
        description="Serve CPU profiles of this process at /debug/pprof/profile to everyone who may query. "
        "Profiling takes some CPU.",
    )


class Grpc(Section):
    endpoint: HostPort = Field(
        default="0.0.0.0:4317", description="Address of the receiver of OTLP over gRPC, host:port."
    )
    tls: Tls = Tls()
    max_recv_msg_size_mib: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=64, description="Largest request, in MiB after decompression. A larger one is refused."
    )
    read_header_timeout_s: Seconds = Field(
        default=10, description="Seconds within which a client must start HTTP/2 on a new connection."
    )
    read_timeout_s: Seconds = Field(default=60, description="Seconds within which a client must send a whole request.")
    write_timeout_s: Seconds = Field(
        default=30,
        description="Seconds for which a client may read nothing of its answers. Then its connection is closed.",
    )
    idle_timeout_s: Seconds = Field(
        default=600, description="Seconds without a request after which a connection is closed. Clients reconnect."
    )
    header_bytes_max: HeaderBytes = Field(default=64 * KIB, description="Largest metadata of a request, in bytes.")
    max_concurrent_streams: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="Most concurrent requests on one connection. A client holds further ones back itself."
    )
    connections_max: Count = Field(default=2000, description="Most connections. Further ones are closed at once.")


class Cors(Section):
    """Web pages that may send spans from browsers. Names are the OpenTelemetry Collector's."""

    allowed_origins: Origins = Field(
        default=(),
        description="Origins of the web pages that may send spans from browsers, such as "
        "`https://app.example.com`. `*` matches any text within an origin, as in "
        "`https://*.example.com`; alone it allows all. Empty: none.",
    )
    allowed_headers: HeaderNames = Field(
        default=(),
        description="Headers that such a page may send besides Accept, Accept-Language, Content-Language and "
        "Content-Type, for example X-Scope-OrgID or Authorization. `*`: any. Empty: only "
        "X-Requested-With in addition.",
    )
    max_age: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=0,
        description="Seconds for which a browser may cache the answer to a preflight request. 0: the browser's default "
        "of 5.",
    )


class Http(Section):
    endpoint: HostPort = Field(
        default="0.0.0.0:4318", description="Address of the receiver of OTLP over HTTP, host:port."
    )
    tls: Tls = Tls()
    max_request_body_size: Annotated[int, Field(ge=1, le=1024 * MIB)] = Field(
        default=64 * MIB,
        description="Largest request body, in bytes after decompression. A larger one is refused.",
    )
    max_json_body_size: Annotated[int, Field(ge=1, le=1024 * MIB)] = Field(
        default=4 * MIB,
        description="Largest JSON body, in bytes after decompression. JSON costs far more: parsing blocks the "
        "whole process, for up to 20 ms per megabyte.",
    )
    read_header_timeout_s: Seconds = Field(
        default=10,
        description="Seconds within which a client must send the headers of a request. For the first request the "
        "time starts with the connection.",
    )
    read_timeout_s: Seconds = Field(
        default=60, description="Seconds within which a client must send the body of a request."
    )
    write_timeout_s: Seconds = Field(
        default=30,
        description="Seconds for which a client may read nothing of its answer. Then its connection is closed.",
    )
    idle_timeout_s: Seconds = Field(
        default=120, description="Seconds without a request after which a connection is closed."
    )
    header_bytes_max: HeaderBytes = Field(default=64 * KIB, description="Largest headers of a request, in bytes.")
    connections_max: Count = Field(default=2000, description="Most connections. Further ones are closed at once.")
    cors: Cors = Cors()


class Protocols(Section):
    grpc: Grpc = Grpc()
    http: Http = Http()


class Otlp(Section):
    protocols: Protocols = Protocols()


class Receivers(Section):
    otlp: Otlp = Otlp()
