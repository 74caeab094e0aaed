"""What of the settings reaches the compactor, and where it runs."""

from pathlib import Path

import pytest

from agents.compactor.leader import TenantRules
from app.errors import SettingsError
from app.settings import Settings, load
from app.targets import joined
from app.targets.compactor import rules_of
from app.targets.shared import Shared

DAY_S = 86_400.0


def settings_of(folder: Path, target: str = "all", **environ: str) -> Settings:
    return load({"TARGET": target, "DATA_DIR": str(folder / "data"), **environ}, folder)


@pytest.mark.parametrize(
    ("settings", "tenants", "expected"),
    [
        pytest.param("", "", TenantRules(14 * DAY_S, 3600.0), id="defaults"),
        pytest.param("a: {block_retention: 48h}", "", TenantRules(2 * DAY_S, 3600.0), id="its own"),
        pytest.param("b: {block_retention: 48h}", "", TenantRules(14 * DAY_S, 3600.0), id="another one's"),
        pytest.param("'*': {block_retention: 48h}", "", TenantRules(2 * DAY_S, 3600.0), id="of all"),
        pytest.param("a: {}", "block_retention: 24h", TenantRules(DAY_S, 3600.0), id="the default of overrides"),
        pytest.param(
            "a: {block_retention: 0}", "block_retention: 24h", TenantRules(14 * DAY_S, 3600.0), id="0: the compactor's"
        ),
        pytest.param("a: {compaction_window: 2h}", "", TenantRules(14 * DAY_S, 7200.0), id="window"),
        pytest.param(
            "a: {compaction_disabled: true}", "", TenantRules(14 * DAY_S, 3600.0, merges=False), id="disabled"
        ),
        pytest.param(
            "a: {compaction_disabled: false}", "compaction_disabled: true", TenantRules(14 * DAY_S, 3600.0), id="again"
        ),
        pytest.param(
            "", "compaction_disabled: true", TenantRules(14 * DAY_S, 3600.0, merges=False), id="disabled for all"
        ),
    ],
)
def test_rules_of_a_tenant(tmp_path, settings, tenants, expected) -> None:
    tenant, _, entry = settings.partition(": ")
    file = f"overrides: {{{tenant}: {{compaction: {entry}}}}}" if settings else "overrides: {}"
    (tmp_path / "tenants.yaml").write_text(file)
    (tmp_path / "stretto.yaml").write_text(
        f"overrides:\n  per_tenant_override_config: {tmp_path}/tenants.yaml\n"
        f"  defaults: {{compaction: {{{tenants}}}}}\n"
    )
    found = settings_of(tmp_path)
    assert rules_of(found, Shared.of(found).overrides)("a") == expected


def test_where_it_runs(tmp_path) -> None:
    """Inside `all`, unless it is disabled; and then it is no target."""
    settings = settings_of(tmp_path)
    assert "compactor" in joined.build(settings, Shared.of(settings)).apps
    disabled = settings_of(tmp_path, STRETTO_COMPACTOR__DISABLED="true")
    assert "compactor" not in joined.build(disabled, Shared.of(disabled)).apps
    alone = settings_of(tmp_path, "compactor", STRETTO_COMPACTOR__DISABLED="true")
    with pytest.raises(SettingsError, match=r"compactor\.disabled"):
        joined.build(alone, Shared.of(alone))


def test_its_app_elects_a_leader(tmp_path) -> None:
    """No other does: the topic for it would be missing."""
    settings = settings_of(tmp_path)
    apps = joined.build(settings, Shared.of(settings)).apps
    assert {role: not app.conf.topic_disable_leader for role, app in apps.items()} == {
        "live-store": False,
        "distributor": False,
        "compactor": True,
    }
