"""The settings of what listens: the query API, and the receivers of OTLP."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.settings.base import Section, conflict
from app.settings.values import KIB, MIB, Count, HeaderNames, HostPort, Name, Origins, Port, Seconds


class Tls(Section):
    """Tempo's names, and the OpenTelemetry Collector's."""

    cert_file: str = Field(
        default="", description="PEM file with the certificate and those between it and its authority. Empty: no TLS."
    )
    key_file: str = Field(default="", description="PEM file with the certificate's key, without a password.")
    client_ca_file: str = Field(
        default="",
        description="PEM file with the authorities of clients' certificates. Where it is set, a client needs one.",
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
        description="Address on which the query API listens; 127.0.0.1 keeps other machines out.",
    )
    http_listen_port: Port = Field(default=3200, description="Port of the query API, HTTP and gRPC.")
    http_tls_config: Tls = Tls()
    http_listen_conn_limit: Count = Field(
        default=2000, description="Connections of HTTP/1 to the query API. More are closed at once."
    )
    grpc_listen_conn_limit: Count = Field(
        default=1000,
        description="Connections of gRPC to the query API. Each takes three file descriptors. More are closed at once.",
    )
    http_server_read_header_timeout_s: Seconds = Field(
        default=10,
        description="Seconds within which a request's head must be there; the first one's from the connection on.",
    )
    http_server_idle_timeout_s: Seconds = Field(
        default=120, description="Seconds without a request after which a connection of HTTP/1 is closed."
    )
    http_server_write_timeout_s: Seconds = Field(
        default=30, description="Seconds for which a client may take nothing of its answer before it is cut."
    )
    http_header_bytes_max: HeaderBytes = Field(
        default=64 * KIB,
        description="Largest head of a request, in bytes, besides what a longest query takes in the URL.",
    )
    grpc_server_max_send_msg_size: Annotated[int, Field(ge=2 * MIB, le=1024 * MIB)] = Field(
        default=4 * MIB,
        description="Largest message of a streamed answer, in bytes: what must be one message and is larger is "
        "refused. Clients of gRPC, Grafana's data source among them, take 4 MiB if they are not told otherwise.",
    )
    auth_file: str = Field(
        default="",
        description="YAML file of tenants and their tokens' hashes (see docs/api.md). Where it is "
        "set, the query API and the OTLP receivers want a token. Empty: nobody needs one.",
    )
    file_poll_s: Seconds = Field(
        default=5,
        description="Seconds between two looks at the files of tokens and certificates; what has changed is read anew.",
    )
    pprof_enabled: bool = Field(
        default=False,
        description="Whether /debug/pprof/profile tells whoever may ask what this process does. It takes some CPU.",
    )


class Grpc(Section):
    endpoint: HostPort = Field(default="0.0.0.0:4317", description="Where OTLP over gRPC is received, host:port.")
    tls: Tls = Tls()
    max_recv_msg_size_mib: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=64, description="Largest request, in MiB after decompression. A larger one is refused."
    )
    read_header_timeout_s: Seconds = Field(
        default=10, description="Seconds within which a connection must begin as HTTP/2."
    )
    read_timeout_s: Seconds = Field(default=60, description="Seconds within which a request must be there whole.")
    write_timeout_s: Seconds = Field(
        default=30, description="Seconds for which a client may take nothing of its answers before it is cut."
    )
    idle_timeout_s: Seconds = Field(
        default=600, description="Seconds without a request after which a connection is closed. Clients connect again."
    )
    header_bytes_max: HeaderBytes = Field(default=64 * KIB, description="Largest metadata of a request, in bytes.")
    max_concurrent_streams: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="Requests at once on one connection. A client keeps more waiting itself."
    )
    connections_max: Count = Field(default=2000, description="Connections. More are closed at once.")


class Cors(Section):
    """Which pages in browsers may send: the OpenTelemetry Collector's names."""

    allowed_origins: Origins = Field(
        default=(),
        description="Origins of web pages that may send from browsers, as `https://app.example.com`; `*` stands for "
        "any text in one, as in `https://*.example.com`, or for all. Empty: none.",
    )
    allowed_headers: HeaderNames = Field(
        default=(),
        description="Headers that such a page may send besides Accept, Accept-Language, Content-Language and "
        "Content-Type; `*`: any. X-Scope-OrgID and Authorization are such. Empty: X-Requested-With, too.",
    )
    max_age: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=0, description="Seconds for which a browser may remember what it was allowed. 0: its own 5."
    )


class Http(Section):
    endpoint: HostPort = Field(default="0.0.0.0:4318", description="Where OTLP over HTTP is received, host:port.")
    tls: Tls = Tls()
    max_request_body_size: Annotated[int, Field(ge=1, le=1024 * MIB)] = Field(
        default=64 * MIB,
        description="Largest request body, in bytes after decompression. A larger one is refused.",
    )
    max_json_body_size: Annotated[int, Field(ge=1, le=1024 * MIB)] = Field(
        default=4 * MIB,
        description="The same of a request in JSON, which costs far more: while it is parsed the process stands "
        "still, up to 20 ms for a megabyte.",
    )
    read_header_timeout_s: Seconds = Field(
        default=10,
        description="Seconds within which a request's head must be there; the first one's from the connection on.",
    )
    read_timeout_s: Seconds = Field(default=60, description="Seconds within which a request's body must be there.")
    write_timeout_s: Seconds = Field(
        default=30, description="Seconds for which a client may take nothing of its answer before it is cut."
    )
    idle_timeout_s: Seconds = Field(
        default=120, description="Seconds without a request after which a connection is closed."
    )
    header_bytes_max: HeaderBytes = Field(default=64 * KIB, description="Largest head of a request, in bytes.")
    connections_max: Count = Field(default=2000, description="Connections. More are closed at once.")
    cors: Cors = Cors()


class Protocols(Section):
    grpc: Grpc = Grpc()
    http: Http = Http()


class Otlp(Section):
    protocols: Protocols = Protocols()


class Receivers(Section):
    otlp: Otlp = Otlp()
