"""The settings of the receivers. Names are Tempo's and the OpenTelemetry Collector's."""

from typing import Annotated

from pydantic import Field

from app.settings.base import Section
from app.settings.sections.kafka_receiver import KafkaReceiver
from app.settings.sections.server import HeaderBytes, Tls
from app.settings.values import KIB, MIB, Count, HeaderNames, HostPortOrEmpty, Origins, Seconds


class Grpc(Section):
    endpoint: HostPortOrEmpty = Field(
        default="0.0.0.0:4317", description="Address of the receiver of OTLP over gRPC, host:port. Empty: none."
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


class HttpReceiver(Section):
    """A receiver over HTTP, of whatever protocol."""

    endpoint: str
    tls: Tls = Tls()
    max_request_body_size: Annotated[int, Field(ge=1, le=1024 * MIB)] = Field(
        default=64 * MIB,
        description="Largest request body, in bytes after decompression. A larger one is refused.",
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


class Http(HttpReceiver):
    endpoint: HostPortOrEmpty = Field(
        default="0.0.0.0:4318", description="Address of the receiver of OTLP over HTTP, host:port. Empty: none."
    )
    max_json_body_size: Annotated[int, Field(ge=1, le=1024 * MIB)] = Field(
        default=4 * MIB,
        description="Largest JSON body, in bytes after decompression. JSON costs far more: parsing blocks the "
        "whole process, for up to 20 ms per megabyte.",
    )
    cors: Cors = Cors()


class Protocols(Section):
    grpc: Grpc = Grpc()
    http: Http = Http()


class Otlp(Section):
    protocols: Protocols = Protocols()


class JaegerGrpc(Grpc):
    endpoint: HostPortOrEmpty = Field(
        default="0.0.0.0:14250", description="Address of the receiver of Jaeger over gRPC, host:port. Empty: none."
    )


class JaegerHttp(HttpReceiver):
    endpoint: HostPortOrEmpty = Field(
        default="0.0.0.0:14268",
        description="Address of the receiver of Jaeger's Thrift over HTTP, host:port. Empty: none.",
    )


class Udp(Section):
    """A receiver of Thrift in datagrams. Names are the OpenTelemetry Collector's."""

    endpoint: str
    max_packet_size: Annotated[int, Field(ge=1000, le=65_535)] = Field(
        default=65_000, description="Largest datagram, in bytes. Larger ones are counted and dropped."
    )
    socket_buffer_size: Annotated[int, Field(ge=64 * KIB, le=1024 * MIB)] = Field(
        default=16 * MIB,
        description="Size of the socket's buffer, in bytes. The system may grant less (net.core.rmem_max); the log "
        "says so.",
    )
    queue_bytes_max: Annotated[int, Field(ge=MIB, le=1024 * MIB)] = Field(
        default=16 * MIB,
        description="Most bytes of datagrams that wait to be decoded. What comes beyond is counted and dropped.",
    )
    tenant: str = Field(
        default="",
        description="Tenant of the spans, since a datagram has no headers. Required where `multitenancy_enabled` or "
        "`server.auth_file` is set; without it the receiver stays off then.",
    )


class JaegerUdpCompact(Udp):
    endpoint: HostPortOrEmpty = Field(
        default="0.0.0.0:6831",
        description="Address of the receiver of Jaeger's compact Thrift over UDP, host:port. Empty: none.",
    )


class JaegerUdpBinary(Udp):
    endpoint: HostPortOrEmpty = Field(
        default="0.0.0.0:6832",
        description="Address of the receiver of Jaeger's binary Thrift over UDP, host:port. Empty: none.",
    )


class JaegerProtocols(Section):
    grpc: JaegerGrpc = JaegerGrpc()
    thrift_http: JaegerHttp = JaegerHttp()
    thrift_compact: JaegerUdpCompact = JaegerUdpCompact()
    thrift_binary: JaegerUdpBinary = JaegerUdpBinary()


class RemoteSampling(HttpReceiver):
    endpoint: HostPortOrEmpty = Field(
        default="0.0.0.0:5778",
        description="Address at which Jaeger's clients ask how to sample, host:port. Empty: none.",
    )
    sampling_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="Share of the traces that clients are told to sample, from 0 to 1."
    )


class Jaeger(Section):
    protocols: JaegerProtocols = JaegerProtocols()
    remote_sampling: RemoteSampling = RemoteSampling()


class Zipkin(HttpReceiver):
    endpoint: HostPortOrEmpty = Field(
        default="0.0.0.0:9411", description="Address of the receiver of Zipkin's spans, host:port. Empty: none."
    )
    parse_string_tags: bool = Field(
        default=False,
        description="Make numbers and bools of tags in JSON that look like such. Zipkin's tags are texts.",
    )


class Receivers(Section):
    otlp: Otlp = Otlp()
    jaeger: Jaeger = Jaeger()
    zipkin: Zipkin = Zipkin()
    kafka: KafkaReceiver = KafkaReceiver()
