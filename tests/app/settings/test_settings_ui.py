"""ui.links: templates of links from spans to elsewhere."""

import pytest

from app.api.page.page_config import LinkTemplate
from app.errors import SettingsError
from app.settings.load import load
from app.targets.page_config import page_config

LOGS = "https://logs.example/search?q=$${traceId}+$${tags.host.name}&from=$${startMs}&to=$${endMs}#$${spanId}"


def settings(tmp_path, url: str):
    (tmp_path / "stretto.yaml").write_text(f"ui:\n  links:\n    - name: Logs\n      kind: logs\n      url: '{url}'\n")
    return load({}, tmp_path)


def test_the_page_is_told(tmp_path):
    """The file writes $${ for ${, as everywhere in it."""
    page = page_config(settings(tmp_path, LOGS), {})
    assert page.links == (LinkTemplate("Logs", "logs", LOGS.replace("$$", "$")),)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("javascript:alert(1)", "expected a URL as http", id="another scheme"),
        pytest.param("/logs?q=$${traceId}", "expected a URL as http", id="no host"),
        pytest.param("https://$${tags.host}/x", "not in the host", id="the span would choose the host"),
        pytest.param("https://logs/$${traceID}", "${traceID} is unknown", id="unknown variable"),
        pytest.param("https://logs/$${tags.}", "is unknown", id="no attribute"),
    ],
)
def test_wrong_templates(tmp_path, url, said):
    """They are refused, and the error says what there is."""
    with pytest.raises(SettingsError) as failed:
        settings(tmp_path, url)
    assert said in str(failed.value)
    assert "ui.links" in str(failed.value)
