"""The overrides file: YAML → each tenant's settings, with the same errors as the settings file."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from app.settings.base import conflict
from app.settings.document import Document, read
from app.settings.keys import Key, dotted
from app.settings.load import settle
from app.settings.models import Settings
from app.settings.problems import Location, Problem, error, from_validation, show
from app.settings.tenants.overrides import TenantOverrides, layered
from app.settings.tenants.tempo_overrides import convert_in
from tables.tenant import valid_tenant

ANY_TENANT: Final = "*"
_ROOT: Final = "overrides"

# Raises ValidationError where a tenant's entry does not fit to the settings.
Check = Callable[[TenantOverrides], None]


class TenantFile(NamedTuple):
    """entries: by tenant; `*` is the entry of all other tenants. warnings: keys without effect, a line each"""

    entries: dict[str, TenantOverrides]
    warnings: list[str]


class ExaminedTenants(NamedTuple):
    """As `TenantFile`, beside all that is wrong with the file."""

    entries: dict[str, TenantOverrides]
    problems: list[Problem]
    warnings: list[Problem]


def check_forwarders(settings: Settings, entry: TenantOverrides) -> None:
    """Raises: ValidationError if the entry names a forwarder that the settings do not have"""
    names = {one.name for one in settings.distributor.forwarders}
    if wrong := [name for name in entry.forwarders if name not in names]:
        fault = conflict("forwarders", f"{wrong[0]!r} is none of distributor.forwarders")
        raise ValidationError.from_exception_data("Overrides", [{"type": fault, "loc": (), "input": None}])


def check_entry(settings: Settings, entry: TenantOverrides) -> None:
    """Raises: ValidationError if the entry does not fit the settings"""
    check_forwarders(settings, entry)
    layered(settings.overrides.defaults, entry).metrics_generator.over(settings.metrics_generator)


def read_tenants(text: str, name: str, environ: Mapping[str, str], check: Check) -> TenantFile:
    """Reads the file, in our own format or one of Tempo's. name: the file's name in errors. Raises: SettingsError"""
    found = examine_tenants(text, name, environ, check)
    if found.problems:
        raise error(found.problems)
    return TenantFile(found.entries, [str(warning) for warning in found.warnings])


def examine_tenants(text: str, name: str, environ: Mapping[str, str], check: Check) -> ExaminedTenants:
    """As `read_tenants`, with all problems instead of an exception."""
    document = read(text, name, environ)
    problems = list(document.problems)
    warnings: list[Problem] = []
    found: dict[str, TenantOverrides] = {}
    if document.readable:
        unknown = document.tree.keys() - {_ROOT}
        problems += [Problem(document.places[key,], f"{key}: unknown key; the only one is {_ROOT}") for key in unknown]
        tenants = document.tree.get(_ROOT)
        if tenants is not None and not isinstance(tenants, dict):
            problems.append(Problem(document.places[_ROOT,], f"{_ROOT}: expected a mapping; got {show(tenants)}"))
            tenants = None
        for tenant, tree in (tenants or {}).items():
            place = document.places[_ROOT, tenant]
            if tenant != ANY_TENANT and not valid_tenant(tenant):
                problems.append(Problem(place, f"{_ROOT}: {tenant[:80]!r} is not a tenant's name"))
                continue
            if tree is not None and not isinstance(tree, dict):
                problems.append(Problem(place, f"{_ROOT}.{tenant}: expected a mapping; got {show(tree)}"))
                continue
            wrong, without_effect = convert_in(document, (_ROOT, tenant))
            problems += wrong
            warnings += without_effect
            tree = document.tree[_ROOT][tenant]
            try:
                entry = TenantOverrides.model_validate({} if tree is None else settle(tree, TenantOverrides))
                check(entry)
                found[tenant] = entry
            except ValidationError as failed:
                problems += _problems(failed, document, (_ROOT, tenant))
    return ExaminedTenants(found, problems, warnings)


def _problems(failed: ValidationError, document: Document, above: Key) -> list[Problem]:
    skip = frozenset(document.unsure)
    if failed.title == TenantOverrides.__name__:
        return from_validation(failed, document.places, skip, TenantOverrides, above)
    # Of the settings with the entry over them: the keys are the settings' own.
    place: Location | None = document.places[above]
    return [Problem(place, f"{dotted(above)}: {_said(item)}") for item in failed.errors(include_url=False)]


def _said(item: Any) -> str:
    key = item.get("ctx", {}).get("key", "")
    return f"{key.removeprefix('registry.')}: {item['msg']}" if key else str(item["msg"])
