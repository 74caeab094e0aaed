"""The process: wiring and edges. `faust -A app worker` finds its app here, the one place where import does anything."""

import gc
from typing import Any


def __getattr__(name: str) -> Any:
    """`app.app`, built when Faust asks for it: importing `app.settings` must not read settings or open files."""
    if name == "app":
        gc.disable()  # collections would take a tenth of the imports' time, and find nothing
        try:
            from app.main import app_from_environment
        finally:
            gc.enable()

        built = globals()["app"] = app_from_environment()
        return built
    raise AttributeError(f"module 'app' has no attribute {name!r}")
