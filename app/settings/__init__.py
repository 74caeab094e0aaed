"""All settings of the process: one YAML file, then the environment. See docs/settings.md."""

from app.settings.load import load
from app.settings.models import Settings
from app.settings.show import to_yaml

__all__ = ["Settings", "load", "to_yaml"]
