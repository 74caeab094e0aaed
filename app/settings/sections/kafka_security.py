"""The sections kafka.tls and kafka.sasl: how connections to Kafka are encrypted, and how Stretto says who it is."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from app.settings.base import Section, conflict
from app.settings.sections.buckets import MAPPING, Metadata, pairs
from app.settings.sections.remote_write import TlsConfig, one_at_most
from app.settings.values import HttpUrlOrEmpty, Words


class KafkaTlsSettings(TlsConfig):
    enabled: bool = Field(default=False, description="Connect to Kafka over TLS.")
    server_name: str = Field(
        default="", description="Name that the brokers' certificates must have. Empty: each broker's host."
    )
    insecure_skip_verify: bool = Field(
        default=False,
        description="Accept any certificate of a broker. Anybody on the way can then read and change everything.",
    )

    @model_validator(mode="after")
    def _enabled_if_used(self) -> Self:
        used = [name for name in type(self).model_fields if name != "enabled" and getattr(self, name)]
        if used and not self.enabled:
            raise conflict(used[0], "has no effect without kafka.tls.enabled; set that to true, or remove this")
        return self


def _words(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


Parameters = Annotated[dict[str, SecretStr], Words(MAPPING), BeforeValidator(pairs)]


class OAuth2(Section):
    """A token endpoint. Names are Prometheus'."""

    token_url: HttpUrlOrEmpty = Field(
        default="", repr=False, description="Token endpoint of OAuth 2.0 (client credentials). Empty: none."
    )
    client_id: str = Field(default="", description="Id of the client at the token endpoint.")
    client_secret: SecretStr = Field(default=SecretStr(""), description="Secret of the client.")
    client_secret_file: str = Field(
        default="", description="File with the secret of the client. It is read again for every token."
    )
    scopes: Annotated[tuple[str, ...], BeforeValidator(_words), Field(strict=False)] = Field(
        default=(), description="Scopes to ask for. Empty: the endpoint's default."
    )
    endpoint_params: Parameters = Field(
        default={}, description="Further parameters of the request, such as `audience`."
    )
    tls_config: TlsConfig = TlsConfig()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        one_at_most(self, "client_secret", "client_secret_file")
        if "@" in self.token_url.partition("://")[2].partition("/")[0]:
            raise conflict("token_url", "names a user; set client_id and client_secret instead")
        secret = self.client_secret.get_secret_value() or self.client_secret_file
        if self.token_url and not (self.client_id and secret):
            raise conflict("token_url", "needs client_id, and client_secret or client_secret_file")
        if not self.token_url and (self.client_id or secret):
            raise conflict(
                "token_url", "is not set, but a client is", "client_id" if self.client_id else "client_secret"
            )
        return self


class Sasl(Section):
    mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        default="",
        description="How Stretto says to Kafka who it is (SASL). PLAIN sends the password as it is: only over TLS. "
        "Empty: it says nothing.",
    )
    username: str = Field(default="", description="User name for PLAIN and SCRAM.")
    password: SecretStr = Field(default=SecretStr(""), description="Password for PLAIN and SCRAM.")
    password_file: str = Field(
        default="", description="File with the password. It is read again for every new client of Kafka."
    )
    token_file: str = Field(
        default="",
        description="File with the token for OAUTHBEARER, which others renew. It is read again for every connection.",
    )
    oauth2: OAuth2 = OAuth2()
    extensions: Metadata = Field(
        default={}, description="SASL extensions that brokers of some providers need beside the token."
    )

    @model_validator(mode="after")
    def _fits_the_mechanism(self) -> Self:
        one_at_most(self, "password", "password_file")
        password = bool(self.password.get_secret_value() or self.password_file)
        if self.mechanism == "OAUTHBEARER":
            if bool(self.token_file) == bool(self.oauth2.token_url):
                raise conflict("mechanism", "OAUTHBEARER needs one of token_file and oauth2.token_url")
            if self.username or password:
                raise conflict("mechanism", "OAUTHBEARER needs no username and no password; remove them", "username")
            return self
        for name in ("token_file", "extensions"):
            if getattr(self, name):
                raise conflict(name, "is used by mechanism OAUTHBEARER only", "mechanism")
        if self.oauth2.token_url:
            raise conflict("oauth2.token_url", "is used by mechanism OAUTHBEARER only", "mechanism")
        if self.mechanism and not (self.username and password):
            raise conflict("mechanism", f"{self.mechanism} needs username, and password or password_file")
        if not self.mechanism and (self.username or password):
            raise conflict("mechanism", "is not set, but a user is", "username" if self.username else "password")
        return self
