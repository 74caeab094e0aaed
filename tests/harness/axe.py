"""axe-core, which looks for what keeps people from using a page; and when a page is ready to be looked at."""

from typing import Any, Final

from tests.helpers.files import ROOT

AXE: Final = ROOT / "app" / "ui" / "node_modules" / "axe-core" / "axe.min.js"
_SERIOUS: Final = ("serious", "critical")
_RUN: Final = "rules => axe.run(document, {resultTypes: ['violations'], ...(rules ? {runOnly: rules} : {})})"


def settle(page: Any) -> None:
    """Returns when all that the view asks for is shown: what it waits for says so, not the network."""
    from playwright.sync_api import expect

    expect(page.locator("main > *").first).to_be_attached()
    expect(page.locator(".progress.on, .skeleton")).to_have_count(0)


def serious_findings(page: Any, theme: str = "light") -> list[str]:
    """What axe finds: by all rules in the light theme; in others only what a theme can change, the colours."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(_RUN, None if theme == "light" else ["color-contrast"])["violations"]
    return [
        f"{one['impact']}: {one['id']}: {node['target']}: {node['failureSummary'][:300]}"
        for one in found
        if one["impact"] in _SERIOUS
        for node in one["nodes"]
    ]
