"""The section tracing: spans of what Stretto itself does."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.settings.base import Section, conflict
from app.settings.values import Count, Duration, HostPortOrEmpty, Name

Ratio = Annotated[float, Field(ge=0, le=1)]


class Tracing(Section):
    enabled: bool = Field(
        default=False,
        description="Whether this process writes traces of its own work. It needs the extra `tracing`.",
    )
    endpoint: HostPortOrEmpty = Field(
        default="",
        description="Where they go, over OTLP gRPC. Empty: to this process's own OTLP receiver.",
    )
    tenant: Name = Field(
        default="stretto",
        description="Tenant of own traces, in X-Scope-OrgID. Without `multitenancy_enabled` here all belong to "
        "`single-tenant`.",
    )
    token_file: str = Field(
        default="", description="File with the token that the receiver asks for. Empty: it asks for none."
    )
    ca_file: str = Field(
        default="", description="PEM file with the CAs of the receiver's certificate. Empty: without TLS."
    )
    query_ratio: Ratio = Field(
        default=0.1,
        description="Share of queries that are traced. A query with a sampled `traceparent` always is, and one that "
        "says it is not sampled never.",
    )
    ingest_ratio: Ratio = Field(
        default=0.001, description="Share of requests with spans that are traced. Those with own spans never are."
    )
    background_ratio: Ratio = Field(default=1.0, description="Share of flushes and merges of blocks that are traced.")
    queue_spans_max: Count = Field(
        default=2048, description="Own spans that wait to be sent. Further ones are lost, and counted."
    )
    export_every: Duration = Field(default=5, description="Time between two batches of own spans.")

    @model_validator(mode="after")
    def _queue_holds_a_batch(self) -> Self:
        if self.ca_file and not self.endpoint:
            raise conflict("ca_file", "needs endpoint: the certificate names it", "endpoint")
        return self
