"""All dashboards."""

from typing import Final

from tools.dashboards.reads import READS
from tools.dashboards.resources import RESOURCES
from tools.dashboards.rollout import ROLLOUT
from tools.dashboards.tenants import TENANTS
from tools.dashboards.writes import WRITES

DASHBOARDS: Final = (WRITES, READS, RESOURCES, TENANTS, ROLLOUT)
