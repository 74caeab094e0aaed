"""The settings of the web page."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from app.settings.base import Section
from app.settings.values import Words, http_url

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


class Ui(Section):
    links: Annotated[tuple[UiLink, ...], Field(strict=False, max_length=_LINKS_MAX)] = Field(
        default=(), description="Links that the web page shows for each span: to its logs, metrics or profiles."
    )
