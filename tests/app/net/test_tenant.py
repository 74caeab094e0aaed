"""Which tenant a request belongs to."""

import pytest

from app.net.tenant import SINGLE_TENANT, InvalidTenant, NoTenant, tenant_of


@pytest.mark.parametrize("header", [None, "", "team-a", "../../etc"])
def test_without_multitenancy(header):
    """Everything is the single tenant's, whatever the header says."""
    assert tenant_of(header, multitenancy=False) == SINGLE_TENANT


@pytest.mark.parametrize("header", ["team-a", "A1!-_.*'()", "...", "x" * 150])
def test_named(header):
    """Grafana's tenant names are accepted as they are."""
    assert tenant_of(header, multitenancy=True) == header


@pytest.mark.parametrize("header", [None, ""])
def test_missing(header):
    """With multitenancy a request must name its tenant."""
    with pytest.raises(NoTenant, match="no org id"):
        tenant_of(header, multitenancy=True)


@pytest.mark.parametrize("header", [".", "..", "a/b", "a\\b", "a|b", "a b", "ä", "a\n", "x" * 151])
def test_invalid(header):
    """What could leave its folder, or is no name of Grafana's, is refused."""
    with pytest.raises(InvalidTenant, match="X-Scope-OrgID"):
        tenant_of(header, multitenancy=True)
