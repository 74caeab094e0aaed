"""The section members: how processes of a cluster announce themselves to each other."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from app.settings.base import Section, conflict
from app.settings.values import Duration, Name, Words

Zone = Annotated[
    str, Words("up to 32 lower-case letters, digits and hyphens, or empty"), Field(pattern=r"^[a-z0-9-]{0,32}$")
]
Host = Annotated[
    str,
    Words("a host name or address without a port, or empty"),
    Field(pattern=r"^([A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+)?$"),
]


def _names(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[Name, ...], BeforeValidator(_names), Field(strict=False)]


class Members(Section):
    heartbeat_period: Duration = Field(
        default=2, description="Time between two heartbeats of a process, which Kafka keeps in a compacted topic."
    )
    heartbeat_timeout: Duration = Field(
        default=10,
        description="Time without a heartbeat after which a process counts as unhealthy, and is asked no more. At "
        "least three heartbeat periods.",
    )
    forget_timeout: Duration = Field(
        default=300,
        description="Time without a heartbeat after which a process is forgotten. At least `heartbeat_timeout`.",
    )
    advertise_address: Host = Field(
        default="",
        description="Host name or address under which other processes reach this one. Empty: the address of the first "
        "interface in `instance_interface_names`, else the one from which this machine reaches Kafka.",
    )
    instance_interface_names: Names = Field(
        default=(),
        description="Network interfaces whose address this process tells the others, the first that has one counts: a "
        "list, or one text separated by commas.",
    )
    zone: Zone = Field(
        default="",
        description="Zone of the live stores of this process (also ZONE). Each zone has a consumer group of its own, "
        "and so a replica of all recent spans. Empty: no replicas.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.heartbeat_timeout < 3 * self.heartbeat_period:
            text = f"must be at least three members.heartbeat_period ({3 * self.heartbeat_period:g} s)"
            raise conflict("heartbeat_timeout", text, "heartbeat_period")
        if self.forget_timeout < self.heartbeat_timeout:
            text = f"must be at least members.heartbeat_timeout ({self.heartbeat_timeout:g} s)"
            raise conflict("forget_timeout", text, "heartbeat_timeout")
        return self
