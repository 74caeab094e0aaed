"""Overrides: the entries of tenants, in either of Tempo's formats."""

from collections.abc import Mapping
from typing import Any, Final

from app.settings.document import Text, read_unexpanded
from app.settings.keys import Key, dotted
from app.settings.migration.report import Migrated
from app.settings.migration.validation import Validation
from app.settings.migration.values import processors
from app.settings.problems import error
from app.settings.tenants.overrides import TenantOverrides
from app.settings.tenants.tempo_overrides import convert
from app.settings.tenants.tenant_file import ANY_TENANT
from tables.tenant import valid_tenant

_ROOT: Final = "overrides"
_PROCESSORS: Final[Key] = ("metrics_generator", "processors")


def migrate_tenants(text: str, name: str) -> Migrated:
    """An overrides file. name: the file's, for places. Raises: SettingsError if it is no such file"""
    document = read_unexpanded(text, name)
    if not document.readable or document.problems:
        raise error(document.problems)
    found = Migrated(document.places, {_ROOT: {}})
    tenants = document.tree.get(_ROOT)
    for other in document.tree.keys() - {_ROOT}:
        found.note(found.manual, (other,), f"an overrides file has the one key {_ROOT}")
    for tenant, entry in (tenants if isinstance(tenants, dict) else {}).items():
        place: Key = (_ROOT, tenant)
        if tenant != ANY_TENANT and not valid_tenant(tenant):
            found.note(found.manual, place, "is not a tenant's name here")
        elif entry is None:
            found.put(place, place, {})
        elif isinstance(entry, dict):
            migrate_entry(found, entry, place, place)
        else:
            found.note(found.manual, place, "expected a mapping")
    return found


def migrate_entry(found: Migrated, entry: Mapping[str, Any], theirs: Key, ours: Key) -> None:
    """What is set for one tenant, or for all. theirs, ours: where it is, and where it goes"""
    converted = convert(entry)
    for notes, texts in ((found.manual, converted.problems), (found.dropped, converted.warnings)):
        for key, why in texts.items():
            found.note(notes, (*theirs, *key), why.removeprefix("has no counterpart here and is ignored: "))
    found.put(ours, theirs, {})
    for new, old in converted.moved.items():
        value: Any = converted.tree
        for part in new:
            value = value[part]
        if new != old:
            found.note(found.changed, (*theirs, *old), f"is {dotted((*ours, *new))} here")
        if new == _PROCESSORS:
            value = _known(found, value, (*theirs, *old))
        if isinstance(value, Text) and str(new[-1]).endswith("_s"):
            text = "is set by a variable, which must now be a number of seconds"
            found.note(found.manual, (*theirs, *old), text)
        found.put((*ours, *new), (*theirs, *old), value)
    Validation(found, TenantOverrides, ours).run()


def _known(found: Migrated, value: Any, theirs: Key) -> Any:
    result = processors(value)
    for notes, text in (
        (found.changed, result.changed),
        (found.dropped, result.dropped),
        (found.manual, result.manual),
    ):
        if text:
            found.note(notes, theirs, text)
    return result.value
