"""The section metrics_generator.storage: the targets of series. Names are those of Prometheus' remote_write, with the
unit at the end.
"""

import functools
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from app.settings.base import Section, conflict
from app.settings.values import Bytes, HttpUrl, Seconds, Words

WRITE_1: Final = "prometheus.WriteRequest"
WRITE_2: Final = "io.prometheus.write.v2.Request"

# Headers that describe a request and its sender: Stretto or other settings set them.
_RESERVED: Final = frozenset(
    {
        *("authorization", "connection", "content-encoding", "content-length", "content-type", "host", "keep-alive"),
        *("proxy-authenticate", "proxy-authorization", "transfer-encoding", "user-agent", "www-authenticate"),
        *("x-prometheus-remote-write-version", "accept-encoding"),
    }
)
# Where a request's Authorization comes from, besides a user in the URL.
IDENTITIES: Final = ("basic_auth.username", "authorization.credentials", "authorization.credentials_file")
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


def one_at_most(section: Section, *names: str) -> None:
    """Raises: PydanticCustomError if more than one of the settings is set"""
    there = [name for name in names if _is_set(getattr(section, name))]
    if len(there) > 1:
        raise conflict(there[1], f"{there[0]} is set, too; set one of them", there[0])


def one_identity(section: Section, url: str, *names: str) -> None:
    """Raises: PydanticCustomError if more than one of the settings, and a user in `url`, would say who asks"""
    chosen = ["url"] if "@" in url.partition("://")[2].partition("/")[0] else []
    chosen += [name for name in names if _is_set(functools.reduce(getattr, name.split("."), section))]
    if len(chosen) > 1:
        first = "a user in the url" if chosen[0] == "url" else chosen[0]
        raise conflict(chosen[1], f"{first} is set, too; a request has one Authorization", chosen[0])


def _is_set(value: Any) -> bool:
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)


class BasicAuth(Section):
    username: str = Field(default="", description="User name. Empty: no basic authentication.")
    password: SecretStr = Field(default=SecretStr(""), description="Password for basic authentication.")
    password_file: str = Field(default="", description="File with the password. It is read again for every request.")

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        one_at_most(self, "password", "password_file")
        if not self.username and (_is_set(self.password) or self.password_file):
            raise conflict("username", "is not set, but a password is", "password")
        return self


class Authorization(Section):
    type: str = Field(default="Bearer", description="Scheme: the first word of the header Authorization.")
    credentials: SecretStr = Field(
        default=SecretStr(""), description="Credentials: what follows the scheme in the header Authorization."
    )
    credentials_file: str = Field(
        default="", description="File with the credentials. It is read again for every request."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        one_at_most(self, "credentials", "credentials_file")
        return self


class TlsConfig(Section):
    ca_file: str = Field(default="", description="PEM file with the CAs to trust. Empty: the machine's CAs.")
    cert_file: str = Field(
        default="", description="PEM file with the client's certificate. Empty: the client presents none."
    )
    key_file: str = Field(default="", description="PEM file with the certificate's private key, without a password.")
    server_name: str = Field(
        default="", description="Name that the server's certificate must have. Empty: the host of the URL."
    )
    insecure_skip_verify: bool = Field(default=False, description="Do not verify the server's certificate.")

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if bool(self.cert_file) != bool(self.key_file):
            missing, there = ("key_file", "cert_file") if self.cert_file else ("cert_file", "key_file")
            raise conflict(there, f"{there} is set but {missing} is not; set both or neither")
        return self


class QueueConfig(Section):
    max_shards: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=4, description="Most concurrent requests to the target, over all tenants."
    )
    max_samples_per_send: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=5000, description="Most series in a request."
    )
    max_pushes: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=8,
        description="Most pushes of a tenant that wait for the target. Beyond it the two oldest are merged: series "
        "lack a point, but no increase is lost.",
    )
    min_backoff_s: Seconds = Field(default=0.25, description="Seconds before the first retry of a request.")
    max_backoff_s: Seconds = Field(default=30, description="Most seconds between two retries of a request.")

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
        description="URL of a Prometheus remote-write receiver. It may include a user and a password in front of "
        "the host.",
    )
    name: str = Field(default="", description="Name of the target in logs and metrics. Empty: its host and port.")
    headers: Headers = Field(default={}, description="Additional HTTP headers of every request.")
    basic_auth: BasicAuth = BasicAuth()
    authorization: Authorization = Authorization()
    bearer_token: SecretStr = Field(default=SecretStr(""), description="Same as `authorization.credentials`.")
    bearer_token_file: str = Field(default="", description="Same as `authorization.credentials_file`.")
    tls_config: TlsConfig = TlsConfig()
    remote_timeout_s: Seconds = Field(default=30, description="Seconds to wait for the response to a request.")
    protobuf_message: Literal["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] = Field(
        default=WRITE_1,
        description="Remote write 1.0 or 2.0. A target that does not accept 2.0 gets 1.0.",
    )
    send_exemplars: bool = Field(default=True, description="Send exemplars.")
    send_native_histograms: bool = Field(default=True, description="Send native histograms, if there are any.")
    queue_config: QueueConfig = QueueConfig()

    @model_validator(mode="after")
    def _one_identity(self) -> Self:
        one_identity(self, self.url, *IDENTITIES, "bearer_token", "bearer_token_file")
        return self


class GeneratorStorage(Section):
    remote_write: Annotated[tuple[RemoteWrite, ...], Field(strict=False)] = Field(
        default=(),
        description="Targets to which the metrics generator pushes its series: a list of `{url: …}`. Empty: the "
        "generator is off.",
    )
    queue_bytes_max: Bytes = Field(
        default=64 << 20,
        description="Memory, in bytes, for pushes that wait for targets. Above it pushes are merged, as with "
        "`queue_config.max_pushes`. One push per tenant and target always stays.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [one.name for one in self.remote_write if one.name]
        if twice := [name for name in names if names.count(name) > 1]:
            raise conflict("remote_write", f"two targets have the name {twice[0]!r}")
        return self
