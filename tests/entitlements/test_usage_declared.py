"""A declared file says what a plan includes of each meter."""

from pathlib import Path

from entitlements.models import Plan, PlanQuota
from entitlements.services.quotas import read_quotas
from projects.models import Project
from tests.entitlements.declaring import NOTHING, apply, refused, write_file

FILE = """
[plans.maker.quotas]
searches = 100
storage_gb_months = "0.5"
tokens = { included = "unlimited" }
api_calls = { included = 1000, block_at_percent = "never", unit_amount = "0.02" }
"""
LESS = """
[plans.maker.quotas]
searches = { included = 100, block_at_percent = 100 }
"""


def quotas(project: Project) -> dict[str, dict[str, object]]:
    return read_quotas(plan=Plan.objects.for_project(project).get(code="maker"))


def test_a_file_sets_quotas_shows_the_difference_and_takes_away_only_when_it_prunes(
    acme: Project, tmp_path: Path
) -> None:
    path = write_file(tmp_path, FILE)
    shown = apply(path, project=acme.slug)
    assert "+ quota maker searches: (included 100, block_at_percent 110)" in shown
    wanted = {
        "api_calls": {"included": "1000", "block_at_percent": "never", "unit_amount": "0.02"},
        "searches": {"included": "100", "block_at_percent": 110},
        "storage_gb_months": {"included": "0.5", "block_at_percent": 110},
        "tokens": {"included": "unlimited", "block_at_percent": 110},
    }
    assert quotas(acme) == wanted
    assert NOTHING in apply(path, project=acme.slug)
    less = write_file(tmp_path, LESS, "less.toml")
    hard = {"included": "100", "block_at_percent": 100}
    assert "~ quota maker searches" in apply(less, project=acme.slug, dry_run=True)
    assert quotas(acme) == wanted
    apply(less, project=acme.slug)
    assert quotas(acme) == wanted | {"searches": hard}
    assert "- quota maker tokens" in apply(less, project=acme.slug, prune=True)
    assert quotas(acme) == {"searches": hard}
    # A plan that nobody has goes away with its quotas.
    apply(write_file(tmp_path, "[plans.other]\n", "other.toml"), project=acme.slug, prune=True)
    assert not Plan.objects.for_project(acme).filter(code="maker").exists()
    assert not PlanQuota.objects.for_project(acme).exists()


def test_a_quota_that_makes_no_sense_is_named_by_its_place_and_changes_nothing(acme: Project, tmp_path: Path) -> None:
    for line, place in (
        ("searches = 0.5", "plans.maker.quotas.searches.included"),
        ("searches = -1", "plans.maker.quotas.searches.included"),
        ("searches = { block_at_percent = 100 }", "plans.maker.quotas.searches.included"),
        ("searches = { included = 1, block_at_percent = 50 }", "plans.maker.quotas.searches.block_at_percent"),
        ("searches = { included = 1, rate = 50 }", "plans.maker.quotas.searches.rate"),
        ("unheard_of = 1", "plans.maker.quotas.unheard_of"),
    ):
        said = refused(write_file(tmp_path, f"[plans.maker.quotas]\n{line}\n"), project=acme.slug)
        assert f"shop.toml: {place}: " in said, said
    assert not Plan.objects.for_project(acme).exists()
