"""`stretto config check`: everything that is wrong with a settings file, and with the files that it names."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from app.errors import SettingsError, StrettoError
from app.settings import Settings
from app.settings.environment import CONFIG
from app.settings.load import DEFAULT_FILE, Examined, examine
from app.settings.problems import Problem, in_order
from app.settings.tenants.overrides import Overrides, TenantOverrides
from app.settings.tenants.tempo_overrides import is_flat
from app.settings.tenants.tenant_file import ExaminedTenants, check_entry, examine_tenants

_EXIT_WRONG: Final = 2


def main(file: str | None, *, overrides: bool, files: bool) -> int:
    """Prints what is wrong. Out: the exit code. file: None: the one that the environment names

    overrides: the file is one of overrides. files: read those that the settings name, too
    """
    environ, cwd = dict(os.environ), Path.cwd()
    if file is not None and (overrides or is_overrides_file(Path(file))):
        found = overrides_file(file, environ, lambda _: None)
        return _say(file, found.problems, found.warnings)
    if file is not None:
        environ[CONFIG] = file
    problems, warnings = check(environ, cwd, files=files)
    return _say(_name(environ, cwd), problems, warnings)


def check(environ: Mapping[str, str], cwd: Path, *, files: bool) -> tuple[list[Problem], list[Problem]]:
    """All problems of the settings and of the files that they name, and warnings. files: read those files"""
    found = examine(environ, cwd)
    problems, warnings = list(found.problems), list(found.warnings)
    if not files:
        return problems, warnings
    name = _overrides_name(found, environ, cwd)
    if name:
        entry: Callable[[TenantOverrides], None] = (
            partial(check_entry, found.settings) if found.settings else lambda _: None
        )
        tenants = overrides_file(name, environ, entry)
        problems += tenants.problems
        warnings += tenants.warnings
    if found.settings:
        problems += _named_files(found.settings)
    return problems, warnings


def is_overrides_file(path: Path) -> bool:
    """Whether a file has nothing but tenants: the one key `overrides`, and below it none of the settings' keys."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # it is read again, with an error that says what is wrong
    if not isinstance(tree, dict) or list(tree) != ["overrides"] or not isinstance(tree["overrides"], dict):
        return False
    names = {str(name) for name in tree["overrides"]}
    own = {*Overrides.model_fields, *TenantOverrides.model_fields, "per_tenant_override_period"}
    return not any(name in own or is_flat(name) for name in names)


def overrides_file(name: str, environ: Mapping[str, str], entry: Callable[[TenantOverrides], None]) -> ExaminedTenants:
    """Reads an overrides file. entry: raises ValidationError if a tenant's entry does not fit the settings"""
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except OSError as err:
        said = f"{name}: the overrides file cannot be read: {err.strerror or err}"
        return ExaminedTenants({}, [Problem(None, said)], [])
    except UnicodeDecodeError:
        return ExaminedTenants({}, [Problem(None, f"{name}: not UTF-8 text; save the file as UTF-8")], [])
    return examine_tenants(text, name, environ, entry)


def _overrides_name(found: Examined, environ: Mapping[str, str], cwd: Path) -> str:
    """The overrides file's name, also from settings that are wrong elsewhere."""
    if found.settings:
        return found.settings.overrides.per_tenant_override_config
    try:
        tree = yaml.safe_load((cwd / (environ.get(CONFIG) or DEFAULT_FILE)).read_text(encoding="utf-8-sig"))
        name = tree["overrides"]["per_tenant_override_config"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return ""
    return name if isinstance(name, str) and "${" not in name and Path(name).exists() else ""


def _named_files(settings: Settings) -> list[Problem]:
    """What is wrong with the files of tokens, certificates and secrets, each by the reader that the server has."""
    from app.net.access import load_credentials
    from app.net.listening import auth_file
    from app.net.tls import TlsFiles, tls_context
    from app.process.kafka import kafka_client
    from app.receivers.table import RECEIVERS
    from app.rpc.security import InternalSecurity

    server = settings.server
    reads: list[Callable[[], Any]] = [
        lambda: load_credentials(auth_file(settings)),
        lambda: kafka_client(settings.kafka),
        lambda: InternalSecurity(server),
    ]
    tls = [(server.http_tls_config, "server.http_tls_config")]
    for row in RECEIVERS:
        section = row.section(settings)
        if row.listens(settings) and hasattr(section, "tls"):
            tls.append((section.tls, f"{row.setting}.tls"))
    for config, setting in tls:
        if files := TlsFiles.of(config, setting):
            reads.append(partial(tls_context, files))
    problems = []
    for read in reads:
        try:
            read()
        except (SettingsError, StrettoError) as err:
            problems += [Problem(None, line) for line in str(err).splitlines()]
    return problems


def _name(environ: Mapping[str, str], cwd: Path) -> str:
    named = environ.get(CONFIG)
    return named or (DEFAULT_FILE if (cwd / DEFAULT_FILE).exists() else "the defaults and the environment")


def _say(name: str, problems: list[Problem], warnings: list[Problem]) -> int:
    for warning in in_order(warnings):
        sys.stderr.write(f"warning: {warning}\n")
    for problem in (found := in_order(problems)):
        sys.stderr.write(f"error: {problem}\n")
    if found:
        sys.stderr.write(f"{name}: {len(found)} {'problem' if len(found) == 1 else 'problems'}\n")
        return _EXIT_WRONG
    sys.stdout.write(f"{name}: nothing is wrong\n")
    return 0
