"""Records of topic `spans` as Faust delivers them, split by tenant."""

from typing import Any, NamedTuple

from tables.errors import WireError
from tables.tenant import valid_tenant
from tables.wire import record
from tables.wire.record import RecordInfo


class TenantPart(NamedTuple):
    """A tenant's rows of a record: this many spans from first_row on."""

    tenant: str
    first_row: int
    spans: int


def parts_of(message: Any) -> tuple[RecordInfo, list[TenantPart]]:
    """The tenants and their rows, from the headers alone; it decodes nothing. Raises: WireError"""
    headers = message.headers or ()
    info = record.read_headers(headers.items() if hasattr(headers, "items") else headers)
    if not message.value:
        raise WireError("no value")
    if not info.runs:
        tenant = bytes(message.key or b"").decode(errors="replace")
        if not valid_tenant(tenant):
            raise WireError(f"key {tenant[:50]!r} is not a tenant's name")
        return info, [TenantPart(tenant, 0, info.spans)]
    parts, first = [], 0
    for tenant, spans in info.runs:
        parts.append(TenantPart(tenant, first, spans))
        first += spans
    return info, parts
