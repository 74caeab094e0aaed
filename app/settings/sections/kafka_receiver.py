"""The section distributor.receivers.kafka: topics to which others write spans. Names are the Collector's."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from app.settings.base import Section, conflict
from app.settings.values import Name, Seconds, Words
from tables.tenant import valid_tenant

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _topic_or_pattern(text: str) -> str:
    if text.startswith("^"):
        try:
            re.compile(text)
        except re.error as err:
            raise ValueError(f"not a regular expression: {err}") from None
    elif not _TOPIC.fullmatch(text):
        raise ValueError("expected a topic's name, or a regular expression that begins with ^")
    return text


def _topic_or_empty(text: str) -> str:
    if text and not _TOPIC.fullmatch(text):
        raise ValueError("expected a topic's name: letters, digits, dots, hyphens and underscores")
    return text


def _tenant(text: str) -> str:
    if text and not valid_tenant(text):
        raise ValueError("expected a tenant's name")
    return text


def _list(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


_Topic = Annotated[str, AfterValidator(_topic_or_pattern)]
Topics = Annotated[tuple[_Topic, ...], BeforeValidator(_list), Field(strict=False)]


class KafkaTraces(Section):
    """Topics of one encoding."""

    topics: Annotated[Topics, Field(min_length=1)] = Field(
        description="Topics to read. One that begins with ^ is a regular expression, which must match the whole name; "
        "topics that are made later are found, too. Topics without one are made where they are missing."
    )
    exclude_topics: Topics = Field(default=(), description="Topics, or regular expressions, to leave out.")
    encoding: Literal[
        "otlp_proto", "otlp_json", "jaeger_proto", "jaeger_json", "zipkin_proto", "zipkin_json", "zipkin_thrift"
    ] = Field(
        default="otlp_proto",
        description="What a message is: a request of OTLP, one span of Jaeger, or a list of spans of Zipkin.",
    )
    tenant_from: Literal["header", "key", "setting"] = Field(
        default="header", description="What names the tenant of a message: a header, its key, or the setting `tenant`."
    )
    tenant_header: Name = Field(
        default="X-Scope-OrgID", description="Header that names the tenant, in any case, with `tenant_from` header."
    )
    tenant: Annotated[str, Words("a tenant's name, or empty"), AfterValidator(_tenant)] = Field(
        default="",
        description="Tenant of messages without such a header or key, or of all with `tenant_from` setting. Empty: "
        "`single-tenant`.",
    )

    @model_validator(mode="after")
    def _names_a_tenant(self) -> Self:
        if self.tenant_from == "setting" and not self.tenant:
            raise conflict("tenant_from", "setting needs tenant; set it", "tenant")
        return self


_OF_KAFKA: Final = "is not set here: Stretto has one Kafka; see kafka."


class KafkaReceiver(Section):
    traces: Annotated[tuple[KafkaTraces, ...], Field(strict=False)] = Field(
        default=(),
        description="Further topics with spans besides `kafka.otlp_topic`: a list of `{topics: […], encoding: …}`. A "
        "topic belongs to the first entry that names it, before those whose expressions match it.",
    )
    dead_letter_topic: Annotated[str, Words("a topic's name, or empty"), AfterValidator(_topic_or_empty)] = Field(
        default="",
        description="Topic to which messages are copied that cannot be read, with headers that say why, and where they "
        "were. Empty: they are only counted and logged.",
    )
    topic_refresh_s: Seconds = Field(
        default=30, description="Seconds between two looks for new topics that a regular expression matches."
    )

    not_supported: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("brokers", "protocol_version", "client_id"), f"{_OF_KAFKA}address"),
        "auth": f"{_OF_KAFKA}sasl",
        "tls": f"{_OF_KAFKA}tls",
        "group_id": f"{_OF_KAFKA}consumer_group_prefix",
        "topic": "is an entry of the list `traces`: `{topics: [name], encoding: otlp_proto}`",
        "encoding": "is a key of an entry of the list `traces`",
        "initial_offset": "is not supported: a topic that was never read is read from its beginning",
    }
