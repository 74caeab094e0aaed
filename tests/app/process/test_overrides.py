# ruff: noqa: E501  (a case is a line of a table, its error text is one line too)
"""Settings of single tenants: what the file says, what is wrong with it, what holds when it changes."""

import re

import pytest
import yaml

from agents.generator.config import SERVICE_GRAPHS, SPAN_METRICS
from app.errors import SettingsError
from app.process.overrides import FAILED, GOOD, OverridesFile
from app.settings import Settings, load, to_yaml
from app.settings.load import settle
from app.settings.tenants.tenant_file import read_tenants
from app.targets.metrics_generator import GeneratorConfigs
from tests.helpers.files import ROOT

SETTINGS = """
metrics_generator: {registry: {max_active_series: 7, external_labels: [a=b]}, processor: {service_graphs: {wait_s: 3}}}
overrides:
  defaults: {metrics_generator: {max_cardinality_per_label: 5, processor: {span_metrics: {dimensions: [x]}}}}
  per_tenant_override_config: tenants.yaml
"""


@pytest.fixture
def tenants(tmp_path, monkeypatch):
    """Reads the settings above with this file of overrides."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stretto.yaml").write_text(SETTINGS)

    def opened(text):
        (tmp_path / "tenants.yaml").write_text(text)
        settings = load({}, tmp_path)
        file = OverridesFile(settings, {"MOST": "9"})
        return file, GeneratorConfigs(settings, file, "i")

    return opened


def test_key_by_key(tenants):
    """What a tenant's entry does not say is as in the defaults, and else as in the settings."""
    _, configs = tenants(
        "overrides: {a: {metrics_generator: {processors: [span-metrics], max_active_series: '${MOST}', "
        "collection_interval_s: 60, processor: {service_graphs: {wait_s: 20}}}}}"
    )
    plain, own = configs.of("plain"), configs.of("a")
    assert plain.generator.processors == {SPAN_METRICS, SERVICE_GRAPHS}
    assert own.generator.processors == {SPAN_METRICS}
    assert [one.generator.max_active_series for one in (plain, own)] == [7, 9]
    assert [one.generator.service_graphs.wait_s for one in (plain, own)] == [3, 20]
    assert [one.interval_s for one in (plain, own)] == [15, 60]
    for one in (plain, own):
        assert one.generator.max_cardinality_per_label == 5
        assert one.generator.span_metrics.dimensions == ("x",)
        assert one.generator.external_labels == (("__metrics_gen_instance", "i"), ("a", "b"))
    assert (configs.shortest_interval_s(), configs.longest_wait_s()) == (15, 20)


def test_anybody_else(tenants):
    """`*` is every tenant that has no entry of its own; an empty entry is one."""
    _, configs = tenants("overrides: {'*': {metrics_generator: {processors: []}}, a: }")
    assert not configs.of("b").generator.processors
    assert configs.of("a").generator.processors


def test_no_file(tmp_path):
    """Without the setting there is nothing to read."""
    settings = load({}, tmp_path)
    file = OverridesFile(settings, {})
    file.reload()
    assert GeneratorConfigs(settings, file, "i").of("a").generator.processors


def test_changes(tenants, tmp_path):
    """A changed file holds at once; a wrong one is told and counted, and what was read before holds until it is good."""
    good = "overrides: {a: {metrics_generator: {max_active_series: %d}}}"
    file, configs = tenants(good % 1)
    path = tmp_path / "tenants.yaml"
    failed = FAILED._value.get()

    def most():
        file.reload()
        return configs.of("a").generator.max_active_series

    path.write_text(good % 2)
    assert (most(), GOOD._value.get()) == (2, 1)
    for number, wrong in enumerate(("overrides: [", "overrides: {a: {metrics: {}}}", good % -1)):
        path.write_text(wrong)
        assert (most(), GOOD._value.get(), FAILED._value.get() - failed) == (2, 0, number + 1)
        assert most() == 2
        assert FAILED._value.get() - failed == number + 1, "told once"
    path.unlink()
    assert (most(), GOOD._value.get()) == (2, 0)
    path.write_text(good % 3)
    assert (most(), GOOD._value.get()) == (3, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("over: {}", "tenants.yaml:1: over: unknown key; the only one is overrides", id="root"),
        pytest.param("overrides: [a]", "tenants.yaml:1: overrides: expected a mapping; got a list", id="no mapping"),
        pytest.param("overrides:\n  a/b: {}", "tenants.yaml:2: overrides: 'a/b' is not a tenant's name", id="tenant"),
        pytest.param("overrides:\n  a: 3", "tenants.yaml:2: overrides.a: expected a mapping; got the number 3", id="entry"),
        pytest.param("overrides:\n  a:\n    generator: {}", "tenants.yaml:3: overrides.a.generator: unknown key; the nearest known key is metrics_generator", id="section"),
        pytest.param("overrides:\n  a:\n    metrics_generator:\n      max_serie: 1", "tenants.yaml:4: overrides.a.metrics_generator.max_serie: unknown key; the nearest known key is metrics_generator.max_active_series", id="key"),
        pytest.param("overrides: {a: {metrics_generator: {processors: [spans]}}}", "tenants.yaml:1: overrides.a.metrics_generator.processors: 'spans' is none of service-graphs, span-metrics", id="value"),
        pytest.param("overrides: {a: {metrics_generator: {max_active_series: x}}}", "tenants.yaml:1: overrides.a.metrics_generator.max_active_series: expected an integer from 0 to 2147483647; got the text 'x'", id="type"),
        pytest.param("overrides: {a: {metrics_generator: {processor: {span_metrics: {dimensions: ['']}}}}}", "tenants.yaml:1: overrides.a.metrics_generator.processor.span_metrics.dimensions[0]: is empty; name an attribute", id="empty dimension"),
        pytest.param("overrides: {a: {metrics_generator: {processor: {service_graphs: {histogram_buckets: [.nan]}}}}}", "tenants.yaml:1: overrides.a.metrics_generator.processor.service_graphs.histogram_buckets: expected seconds above 0", id="bucket that is NaN"),
        pytest.param("overrides: {a: {metrics_generator: {external_labels: [le=1]}}}", "tenants.yaml:1: overrides.a.metrics_generator.external_labels: the label le has a meaning of its own", id="external label"),
        pytest.param("overrides: {a: {metrics_generator: {collection_interval_s: 600}}}", "tenants.yaml:1: overrides.a: stale_duration_s: must be at least two", id="does not fit to the settings"),
        pytest.param("overrides: {a: {metrics_generator: {limiter_type: entity}}}", "tenants.yaml:1: overrides.a: max_active_series: does not hold", id="does not fit to a limit"),
        pytest.param("overrides: {a: {metrics_generator: {max_active_series: '${NOT}'}}}", "tenants.yaml:1: overrides.a.metrics_generator.max_active_series: the variable NOT is not set", id="variable"),
        pytest.param("a: [", "tenants.yaml:1: not YAML", id="no YAML"),
    ],
)  # fmt: skip
def test_errors(tenants, text, problem):
    """As with the settings file: line, key, what is expected."""
    with pytest.raises(SettingsError) as err:
        tenants(text)
    assert str(err.value).startswith(problem)


def test_all_errors_at_once(tenants):
    """Every tenant's."""
    with pytest.raises(SettingsError) as err:
        tenants("overrides:\n  a: {x: 1}\n  b: {y: 2}")
    assert [line.split(" ")[0] for line in str(err.value).split("\n")] == ["tenants.yaml:2:", "tenants.yaml:3:"]


def test_a_file_that_is_missing(tenants, tmp_path):
    """At the start that is an error."""
    settings = load({"STRETTO_OVERRIDES__PER_TENANT_OVERRIDE_CONFIG": "nowhere.yaml"}, tmp_path)
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read: .*per_tenant_override_config"):
        OverridesFile(settings, {})


def test_defaults_that_do_not_fit(tmp_path):
    """They are looked at together with the settings."""
    (tmp_path / "stretto.yaml").write_text("overrides: {defaults: {metrics_generator: {stale_duration_s: 20}}}")
    with pytest.raises(
        SettingsError, match=r"stretto\.yaml:1: overrides\.defaults\.metrics_generator\.stale_duration_s: must be"
    ):
        load({}, tmp_path)


def test_defaults_are_shown_as_set(tmp_path):
    """`stretto config` leaves out what `overrides.defaults` does not say: loaded again, it means the same."""
    text = "{registry: {max_active_series: 7}}\noverrides: {defaults: {metrics_generator: {processors: []}}}"
    (tmp_path / "stretto.yaml").write_text(f"metrics_generator: {text}")
    shown = to_yaml(load({}, tmp_path), masked=False)
    (tmp_path / "stretto.yaml").write_text(shown)
    settings = load({}, tmp_path)
    config = GeneratorConfigs(settings, OverridesFile(settings, {}), "i").of("t").generator
    assert (config.max_active_series, config.processors) == (7, frozenset())


def test_the_documented_examples():
    """Settings and overrides in docs/metrics-generator.md are good."""
    text = (ROOT / "docs/metrics-generator.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yml\n(.*?)```", text, re.DOTALL)
    for example in (one for one in examples if one.startswith("metrics_generator:")):
        assert Settings.model_validate(settle(yaml.safe_load(example), Settings))
    (overrides,) = [one for one in examples if one.startswith("overrides:")]
    assert set(read_tenants(overrides, "docs", {}, lambda _: None).entries) == {"team-a", "*"}


def test_the_documented_limits(tmp_path):
    """Settings, overrides and forwarders in docs/multitenancy.md are good, and nothing in them is without effect."""
    text = (ROOT / "docs/multitenancy.md").read_text(encoding="utf-8")
    defaults, tenants, forwarders = re.findall(r"```yml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "stretto.yaml").write_text(
        defaults.replace("/etc/stretto/tenants.yaml", str(tmp_path / "t")) + forwarders
    )
    (tmp_path / "t").write_text(tenants)
    file = OverridesFile(load({}, tmp_path), {})
    assert file.of("team-a").ingestion.rate_limit_bytes == 50_000_000
    assert file.of("team-a").ingestion.burst_size_bytes == 30_000_000, "of the defaults"
    assert file.of("team-a").forwarders == ("team-a-collector",)
    assert file.of("anybody").ingestion.rate_limit_bytes == 1_000_000
    assert read_tenants(tenants, "docs", {}, lambda _: None).warnings == []
