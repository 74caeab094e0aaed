"""metrics_generator.storage: who gets the series. Names are Prometheus' (remote_write), with the unit at the end."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from app.settings.base import Section, conflict
from app.settings.values import Bytes, HttpUrl, Seconds, Words

WRITE_1: Final = "prometheus.WriteRequest"
WRITE_2: Final = "io.prometheus.write.v2.Request"

# They say what a request is and whose it is: Stretto sets them, or other settings do.
_RESERVED: Final = frozenset(
    {
        *("authorization", "connection", "content-encoding", "content-length", "content-type", "host", "keep-alive"),
        *("proxy-authenticate", "proxy-authorization", "transfer-encoding", "user-agent", "www-authenticate"),
        *("x-prometheus-remote-write-version", "accept-encoding"),
    }
)
_TOKEN_CHARS: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def _headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        if not name or set(name.lower()) - _TOKEN_CHARS:
            raise ValueError(f"{name[:60]!r} is not the name of an HTTP header")
        if name.lower() in _RESERVED:
            raise ValueError(f"{name} is not set here; credentials have settings of their own, the others are fixed")
        if not value.get_secret_value().isprintable():
            raise ValueError(f"the value of {name} has a line break or another control character")
    return headers


Headers = Annotated[dict[str, SecretStr], Words("a mapping of names to values"), AfterValidator(_headers)]


def _one_at_most(section: Section, *names: str) -> None:
    there = [name for name in names if _is_set(getattr(section, name))]
    if len(there) > 1:
        raise conflict(there[1], f"{there[0]} is set, too; set one of them", there[0])


def _is_set(value: Any) -> bool:
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)


class BasicAuth(Section):
    username: str = Field(default="", description="User name. Empty: no basic authentication.")
    password: SecretStr = Field(default=SecretStr(""), description="Its password.")
    password_file: str = Field(default="", description="File with the password; it is read with every request.")

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        _one_at_most(self, "password", "password_file")
        if not self.username and (_is_set(self.password) or self.password_file):
            raise conflict("username", "is not set, but a password is", "password")
        return self


class Authorization(Section):
    type: str = Field(default="Bearer", description="What stands before the credentials.")
    credentials: SecretStr = Field(default=SecretStr(""), description="What the header Authorization says after it.")
    credentials_file: str = Field(default="", description="File with the credentials; it is read with every request.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _one_at_most(self, "credentials", "credentials_file")
        return self


class TlsConfig(Section):
    ca_file: str = Field(
        default="", description="PEM file with the authorities that are trusted. Empty: those of the machine."
    )
    cert_file: str = Field(default="", description="PEM file with the client's certificate. Empty: none is shown.")
    key_file: str = Field(default="", description="PEM file with the certificate's key, without a password.")
    server_name: str = Field(
        default="", description="Name that the server's certificate must have. Empty: the host of the URL."
    )
    insecure_skip_verify: bool = Field(default=False, description="Do not look at the server's certificate.")

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if bool(self.cert_file) != bool(self.key_file):
            missing, there = ("key_file", "cert_file") if self.cert_file else ("cert_file", "key_file")
            raise conflict(there, f"{there} is set but {missing} is not; set both or neither")
        return self


class QueueConfig(Section):
    max_shards: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=4, description="Requests to the target that are under way at once, over all tenants."
    )
    max_samples_per_send: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=5000, description="Most series of a request."
    )
    max_pushes: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=8,
        description="Pushes of a tenant that wait for the target. Beyond it the two oldest become one: series lack a "
        "point, no increase is lost.",
    )
    min_backoff_s: Seconds = Field(default=0.25, description="Seconds before a request is sent again, the first time.")
    max_backoff_s: Seconds = Field(default=30, description="Most seconds before a request is sent again.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_backoff_s < self.min_backoff_s:
            raise conflict("max_backoff_s", f"must not be less than min_backoff_s ({self.min_backoff_s:g})")
        return self


class RemoteWrite(Section):
    """A receiver of Prometheus remote write."""

    # Not part of a repr: a URL may hold a password.
    url: HttpUrl = Field(
        repr=False,
        description="Address of a Prometheus remote-write receiver. User and password may stand in front of the host.",
    )
    name: str = Field(default="", description="What logs and metrics call it. Empty: host and port.")
    headers: Headers = Field(default={}, description="HTTP headers that are sent along.")
    basic_auth: BasicAuth = BasicAuth()
    authorization: Authorization = Authorization()
    bearer_token: SecretStr = Field(default=SecretStr(""), description="The same as `authorization.credentials`.")
    bearer_token_file: str = Field(default="", description="The same as `authorization.credentials_file`.")
    tls_config: TlsConfig = TlsConfig()
    remote_timeout_s: Seconds = Field(default=30, description="Seconds to wait for the answer to a request.")
    protobuf_message: Literal["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] = Field(
        default=WRITE_1,
        description="Remote write 1.0 or 2.0. A target that does not take 2.0 gets 1.0.",
    )
    send_exemplars: bool = Field(default=True, description="Send exemplars.")
    send_native_histograms: bool = Field(default=True, description="Send native histograms, where there are any.")
    queue_config: QueueConfig = QueueConfig()

    @model_validator(mode="after")
    def _one_identity(self) -> Self:
        ways = {
            "url": "@" in self.url.partition("://")[2].partition("/")[0],
            "basic_auth.username": bool(self.basic_auth.username),
            "authorization.credentials": _is_set(self.authorization.credentials),
            "authorization.credentials_file": bool(self.authorization.credentials_file),
            "bearer_token": _is_set(self.bearer_token),
            "bearer_token_file": bool(self.bearer_token_file),
        }
        chosen = [way for way, is_set in ways.items() if is_set]
        if len(chosen) > 1:
            first = "a user in the url" if chosen[0] == "url" else chosen[0]
            raise conflict(chosen[1], f"{first} is set, too; a request has one Authorization", chosen[0])
        return self


class GeneratorStorage(Section):
    remote_write: Annotated[tuple[RemoteWrite, ...], Field(strict=False)] = Field(
        default=(),
        description="Where the metrics generator pushes its series: a list of `{url: …}`. Empty: it is off.",
    )
    queue_bytes_max: Bytes = Field(
        default=64 << 20,
        description="Bytes of pushes that wait for targets. Above it pushes become one, as with "
        "`queue_config.max_pushes`; one of each tenant and target is kept in any case.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [one.name for one in self.remote_write if one.name]
        if twice := [name for name in names if names.count(name) > 1]:
            raise conflict("remote_write", f"two targets have the name {twice[0]!r}")
        return self
