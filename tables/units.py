"""Units of time, in nanoseconds: what OTLP and the span columns count in."""

from typing import Final

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
