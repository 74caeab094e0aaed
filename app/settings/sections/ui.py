"""The settings of the web page."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from app.settings.base import Section
from app.settings.sections.remote_write import IDENTITIES, Authorization, BasicAuth, Headers, TlsConfig, one_identity
from app.settings.values import HttpUrlOrEmpty, Seconds, Words, http_url

_LINKS_MAX: Final = 50
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_NAMES: Final = ("traceId", "spanId", "name", "startMs", "endMs")


def _template(text: str) -> str:
    """`text` if it is an http or https URL whose variables the page knows. Raises: ValueError"""
    wrong = next((name for name in _VARIABLE.findall(text) if not _known(name.strip())), None)
    if wrong is not None:
        known = ", ".join(f"${{{name}}}" for name in _NAMES)
        raise ValueError(f"${{{wrong[:60]}}} is unknown; there are {known}, and ${{tags.<attribute>}}")
    # Values of spans are escaped in the page; before the path they would choose the host.
    http_url(_VARIABLE.sub("x", text))
    host = text.partition("://")[2].partition("/")[0].partition("?")[0].partition("#")[0]
    if "${" in host:
        raise ValueError("variables may stand in the path and behind it, not in the host")
    return text


def _known(name: str) -> bool:
    return name in _NAMES or (name.startswith("tags.") and len(name) > len("tags."))


Template = Annotated[str, AfterValidator(_template), Words("an http or https URL with variables as ${traceId}")]


class UiLink(Section):
    """A link from a span to somewhere else."""

    name: Annotated[str, Field(min_length=1, max_length=60)] = Field(description="The text of the link.")
    kind: Literal["logs", "metrics", "profiles", "other"] = Field(
        default="other", description="What the link leads to."
    )
    url: Template = Field(
        description="The address. In its path and query `${traceId}`, `${spanId}`, `${name}`, `${startMs}`, `${endMs}` "
        "(unix milliseconds) and `${tags.<attribute>}` (of the span, or else of its resource) are replaced; the "
        "settings file has them as `$${traceId}`. A span without the attribute does not have the link.",
    )


class ServiceGraph(Section):
    """Where the metrics traces_service_graph_* of a metrics generator can be asked for."""

    # Not part of a repr: a URL may hold a password.
    prometheus_url: HttpUrlOrEmpty = Field(
        default="",
        repr=False,
        description="Address of a Prometheus, Mimir or Thanos that has the generator's metrics: what stands in front "
        "of `/api/v1/query`. It may include a user and a password. Empty: the service map is computed from traces. "
        "With `multitenancy_enabled` the tenant is sent as `X-Scope-OrgID`, and the server must keep tenants apart.",
    )
    headers: Headers = Field(default={}, description="Additional HTTP headers of every request.")
    basic_auth: BasicAuth = BasicAuth()
    authorization: Authorization = Authorization()
    tls_config: TlsConfig = TlsConfig()
    timeout_s: Seconds = Field(default=10, description="Seconds to wait for the answer to a query.")
    edges_max: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1000, description="Most connections of a map: those with the most requests."
    )

    @model_validator(mode="after")
    def _one_identity(self) -> Self:
        one_identity(self, self.prometheus_url, *IDENTITIES)
        return self


class Ui(Section):
    service_graph: ServiceGraph = ServiceGraph()
    links: Annotated[tuple[UiLink, ...], Field(strict=False, max_length=_LINKS_MAX)] = Field(
        default=(), description="Links that the web page shows for each span: to its logs, metrics or profiles."
    )
