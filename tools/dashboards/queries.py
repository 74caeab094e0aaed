"""PromQL that several dashboards use."""

from typing import Final

from tools.dashboards.panels import Query

RATE: Final = "$__rate_interval"


def rate(metric: str, by: str = "", labels: str = "") -> str:
    """The rate of a counter, summed. by: labels that are kept; labels: further conditions"""
    group = f" by ({by})" if by else ""
    return f"sum{group} (rate({metric}{{SEL{', ' + labels if labels else ''}}}[{RATE}]))"


def quantiles(metric: str, by: str = "", labels: str = "") -> list[Query]:
    """The median and the 99th percentile of a histogram. by, labels: as of `rate`"""
    group = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return [
        Query(f"histogram_quantile({q}, {rate(f'{metric}_bucket', group, labels)})", f"{legend}{name}")
        for q, name in ((0.5, "p50"), (0.99, "p99"))
    ]
