"""axe-core, which looks for what keeps people from using a page."""

from typing import Final

from tests.helpers.files import ROOT

AXE: Final = ROOT / "app" / "ui" / "node_modules" / "axe-core" / "axe.min.js"
