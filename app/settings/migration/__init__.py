"""Settings of Grafana Tempo 2.x and 3.x → ours: `stretto config migrate`."""

from app.settings.migration.report import Migrated, Note
from app.settings.migration.settings_file import migrate_settings
from app.settings.migration.tenants import migrate_tenants

__all__ = ["Migrated", "Note", "migrate_settings", "migrate_tenants"]
