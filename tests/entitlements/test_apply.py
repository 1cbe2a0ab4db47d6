"""manage.py apply: projects, plans, prices and limits become what a file declares; all of it or nothing."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from entitlements.models import Plan, PlanPrice
from moderation.models import ActionLog
from payments.models import StripeCredentials
from projects.models import Membership, Project
from tests.cast import Developer
from tests.entitlements.declaring import NOTHING, apply, kept, price_rows, refused, write_file
from tests.payments.rows import create_subscription
from tests.payments.shop import at_once


def new_slug() -> str:
    """Name a project that nobody has."""
    return f"shop-{uuid.uuid4().hex[:12]}"


def whole_file(slug: str, owner: str) -> str:
    """Write a project with everything that a file may say of it."""
    return f"""
        [projects.{slug}]
        name = "Shop"
        owner = "{owner}"
        description = "Sells things"
        allowed_origins = ["https://Shop.Example"]
        default_success_url = "https://shop.example/done"

        [projects.{slug}.plans.free]
        name = "Free"
        free = true
        limits = {{ credits_per_day = 10, file_size_mb = 10 }}

        [projects.{slug}.plans.pro]
        name = "Pro"
        rank = 2
        aliases = ["professional"]
        trial_days = 3
        features = {{ runs = "priority", export = true, seats = 3, share = 0.5 }}

        [projects.{slug}.plans.pro.limits]
        credits_per_day = 100
        token_budget = "unlimited"
        compute_budget_cents = 500
        compute_budget_duration = "1d"

        [[projects.{slug}.plans.pro.prices]]
        interval = "month"
        amount_cents = 2499
        lookup_key = "pro_monthly"

        [[projects.{slug}.plans.pro.prices]]
        interval = "year"
        amount_cents = 22491

        [[projects.{slug}.plans.pro.prices]]
        mode = "live"
        interval = "month"
        currency = "eur"
        price_id = "${{PRO_EUR_PRICE}}"
    """


# Works


def test_a_file_makes_a_project_with_plans_prices_and_limits(
    alice: Developer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = new_slug()
    monkeypatch.setenv("PRO_EUR_PRICE", f"price_{slug}")
    file = write_file(tmp_path, whole_file(slug, alice.user.email.upper()))
    shown = apply(file)
    project = Project.objects.get(slug=slug)
    assert Membership.objects.for_project(project).get().user == alice.user
    assert (project.name, project.allowed_origins) == ("Shop", ["https://shop.example"])
    free, pro = Plan.objects.for_project(project).order_by("rank")
    assert (free.free, free.credits_per_day, free.file_size_mb, free.token_budget) == (True, 10, 10, 0)
    assert (pro.aliases, pro.trial_days, pro.credits_per_day, pro.token_budget) == (["professional"], 3, 100, None)
    assert (pro.compute_budget_cents, pro.compute_budget_duration) == (500, "1d")
    assert pro.features == {"runs": "priority", "export": True, "seats": 3, "share": 0.5}
    assert price_rows(project) == [
        ("pro", "month", 2499, "", "pro_monthly", True),
        ("pro", "year", 22491, "", "", True),
    ]
    assert ("pro", "month", 0, f"price_{slug}", "", True) in price_rows(project, "live")
    for line in (
        "+ project",
        "+ plan free: name Free",
        "token_budget no limit",
        "24.99 USD (pro_monthly)",
        "8 changes made.",
    ):
        assert line in shown
    assert "${PRO_EUR_PRICE}" in shown and f"price_{slug}" not in shown


def test_the_same_file_again_changes_nothing(alice: Developer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slug = new_slug()
    monkeypatch.setenv("PRO_EUR_PRICE", f"price_{slug}")
    file = write_file(tmp_path, whole_file(slug, alice.user.email))
    apply(file)
    before = kept(Project.objects.get(slug=slug))
    assert apply(file) == f"{NOTHING}\n"
    assert apply(file, "--prune") == f"{NOTHING}\n"
    assert kept(Project.objects.get(slug=slug)) == before


def test_what_differs_is_shown_and_changed_and_what_is_left_out_is_kept(acme: Project, tmp_path: Path) -> None:
    first = '[plans.pro]\nname = "Pro"\nrank = 2\n[plans.pro.limits]\ncredits_per_day = 20\nfile_size_mb = 5\n'
    apply(write_file(tmp_path, first), project=acme.slug)
    second = '[plans.pro]\nname = "Pro!"\n[plans.pro.limits]\ncredits_per_day = 30\n[plans.new]\nname = "New"\n'
    shown = apply(write_file(tmp_path, second), project=acme.slug)
    assert "~ plan pro: name Pro -> Pro!; credits_per_day 20 -> 30" in shown and "+ plan new" in shown
    pro = Plan.objects.for_project(acme).get(code="pro")
    assert (pro.name, pro.rank, pro.credits_per_day, pro.file_size_mb) == ("Pro!", 2, 30, 5)
    logged = ActionLog.objects.for_project(acme).filter(action="plan.changed").get()
    assert (logged.subject, logged.details["credits_per_day"]) == ("pro", [20, 30])


def test_a_json_file_says_the_same(acme: Project, tmp_path: Path) -> None:
    plans = {"pro": {"limits": {"token_budget": None}, "prices": [{"mode": "test", "amount_cents": 500}]}}
    document = {"projects": {acme.slug: {"plans": plans}}}
    apply(write_file(tmp_path, json.dumps(document), "shop.json"))
    assert Plan.objects.for_project(acme).get().token_budget is None
    assert price_rows(acme) == [("pro", "month", 500, "", "", True)]
    assert price_rows(acme, "live") == []


def test_a_dry_run_shows_the_difference_and_writes_nothing(alice: Developer, acme: Project, tmp_path: Path) -> None:
    before = kept(acme)
    slug = new_slug()
    text = (
        f'[projects.{slug}]\nname = "New"\nowner = "{alice.user.email}"\n[projects.{acme.slug}.plans.pro]\nrank = 1\n'
    )
    shown = apply(write_file(tmp_path, text), "--dry-run")
    assert f"+ project {slug}" in shown and "+ plan pro" in shown and "nothing was written" in shown
    assert kept(acme) == before
    assert not Project.objects.filter(slug=slug).exists()


def test_pruning_removes_what_the_file_does_not_name_and_nothing_that_somebody_has(
    acme: Project, other_project: Project, tmp_path: Path
) -> None:
    apply("--preset", "credits", project=acme.slug)
    apply("--preset", "credits", project=other_project.slug)
    PlanPrice.objects.for_project(acme).filter(plan__code="pro", mode="test", interval="year").update(
        stripe_price_id=f"price_{acme.slug}"
    )
    create_subscription(acme, plan=Plan.objects.for_project(acme).get(code="pro"))
    create_subscription(acme, plan=Plan.objects.for_project(acme).get(code="maker"))
    theirs = kept(other_project)
    text = '[[plans.pro.prices]]\ninterval = "month"\namount_cents = 2499\n'
    assert apply(write_file(tmp_path, text), project=acme.slug) == f"{NOTHING}\n"
    shown = apply(write_file(tmp_path, text), "--prune", project=acme.slug)
    assert "- plan free\n" in shown and "- plan maker: archived" in shown
    assert "off sale; whoever pays it keeps the plan" in shown
    plans = dict(Plan.objects.for_project(acme).values_list("code", "archived"))
    assert plans == {"pro": False, "maker": True}
    year = PlanPrice.objects.for_project(acme).get(plan__code="pro", mode="test", interval="year")
    assert not year.active
    assert apply(write_file(tmp_path, text), "--prune", project=acme.slug) == f"{NOTHING}\n"
    assert kept(other_project) == theirs
    assert "archived yes -> no" in apply("--preset", "credits", project=acme.slug)


def test_another_amount_is_another_price_and_the_one_that_is_sold_stays_as_it_is(acme: Project, tmp_path: Path) -> None:
    sold = '[[plans.pro.prices]]\nmode = "test"\namount_cents = 1000\n'
    apply(write_file(tmp_path, sold), project=acme.slug)
    PlanPrice.objects.for_project(acme).update(stripe_price_id=f"price_{acme.slug}")
    assert apply(write_file(tmp_path, sold), project=acme.slug) == f"{NOTHING}\n"
    for amount in (1500, 1800):
        dearer = sold.replace("1000", str(amount))
        shown = apply(write_file(tmp_path, dearer), project=acme.slug)
        assert f"{amount // 100}.00 USD" in shown
        assert price_rows(acme) == [
            ("pro", "month", 1000, f"price_{acme.slug}", "", True),
            ("pro", "month", amount, "", "", True),
        ]
        assert apply(write_file(tmp_path, dearer), project=acme.slug) == f"{NOTHING}\n"
    assert "was not at Stripe yet" in apply(write_file(tmp_path, sold), project=acme.slug)
    assert price_rows(acme) == [("pro", "month", 1000, f"price_{acme.slug}", "", True)]
    other = sold + f'price_id = "price_new_{acme.slug}"\n'
    shown = apply(write_file(tmp_path, other), project=acme.slug)
    assert "takes its place" in shown
    assert [row[3:] for row in price_rows(acme)] == [
        (f"price_{acme.slug}", "", False),
        (f"price_new_{acme.slug}", "", True),
    ]
    assert apply(write_file(tmp_path, other), project=acme.slug) == f"{NOTHING}\n"


def test_stripe_keys_come_from_the_environment_and_are_never_shown(
    alice: Developer, sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, slug = sandbox.create_account("Shop"), new_slug()
    monkeypatch.setenv("SHOP_SECRET", account.test_secret_key)
    text = f'[projects.{slug}]\nname = "Shop"\nowner = "{alice.user.email}"\n[projects.{slug}.stripe.test]\n'
    file = write_file(tmp_path, f'{text}secret_key = "${{SHOP_SECRET}}"\n')
    shown = apply(file, "--dry-run") + apply(file)
    assert "~ stripe test: secret_key" in shown and account.test_secret_key not in shown
    project = Project.objects.get(slug=slug)
    stored = StripeCredentials.objects.for_project(project).get()
    assert stored.get_secret("secret_key") == account.test_secret_key and stored.webhook_endpoint_id
    assert apply(file) == f"{NOTHING}\n"
    assert StripeCredentials.objects.for_project(project).get().version == stored.version
    other = sandbox.create_account("Another")
    monkeypatch.setenv("SHOP_SECRET", other.test_secret_key)
    said = refused(file, code=2)
    assert "used" in said and other.test_secret_key not in said
    assert "1 change made." in apply(file, "--confirm-account-change")


# Refuses


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_changed(acme: Project, tmp_path: Path) -> None:
    apply("--preset", "credits", project=acme.slug)
    before = kept(acme)
    text = f"""
        [projects.{acme.slug}]
        nmae = "Acme"
        allowed_origins = "https://x.example"
        [projects.{acme.slug}.plans."a b"]
        [projects.{acme.slug}.plans.pro]
        trial_days = 731
        features = {{ runs = [1] }}
        limits = {{ credits_per_day = -1, file_size_mb = "10", credits = 4, credits_per_period = "unlimited" }}
        [[projects.{acme.slug}.plans.pro.prices]]
        interval = "week"
        currency = "US"
        amount_cents = 12.99
        price_id = "sk_test_pasted"
        [[projects.{acme.slug}.plans.maker.prices]]
        [[projects.{acme.slug}.plans.unlimited.prices]]
        amount_cents = 1
        [[projects.{acme.slug}.plans.unlimited.prices]]
        amount_cents = 2
    """
    said = refused(write_file(tmp_path, text))
    at, plans = f"shop.toml: projects.{acme.slug}", f"shop.toml: projects.{acme.slug}.plans"
    for problem in (
        f"{at}.nmae: Unknown; did you mean name?",
        f"{at}.allowed_origins: Give a list",
        f"{plans}.a b: Give 1 to 64 letters",
        f"{plans}.pro.trial_days: Give a whole number from 0 to 730.",
        f"{plans}.pro.features: runs: give true, false",
        f"{plans}.pro.limits.credits_per_day: Give a whole number",
        f'{plans}.pro.limits.file_size_mb: Give a whole number from 0 to 2,147,483,647. 0 gives nothing and "unlimited" is',
        f"{plans}.pro.limits.credits: Unknown",
        f"{plans}.pro.limits.credits_per_period: Give",
        f"{plans}.pro.prices[0].interval: Give one of: month, year.",
        f"{plans}.pro.prices[0].currency: Give three",
        f"{plans}.pro.prices[0].amount_cents: Give a whole number",
        f"{plans}.pro.prices[0].price_id: This looks like a key",
        f"{plans}.maker.prices[0].amount_cents: Give an amount",
        f"{plans}.unlimited.prices[1]: A price per month in usd is declared",
        "Nothing was changed.",
    ):
        assert problem in said, said
    assert "pasted" not in said
    assert kept(acme) == before


def test_unset_names_of_the_environment_are_all_named(
    acme: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY_ONE", "")
    text = '[plans.pro]\nname = "${NO_SUCH_NAME}"\n[[plans.pro.prices]]\nmode = "test"\nprice_id = "${EMPTY_ONE}"\n'
    said = refused(write_file(tmp_path, text), project=acme.slug)
    assert "EMPTY_ONE, NO_SUCH_NAME" in said and "NO_SUCH_NAME at plans.pro.name" in said
    said = refused(write_file(tmp_path, '[plans.pro]\nname = "${not a name}"\n'), project=acme.slug)
    assert "plans.pro.name: A value from the environment is written ${NAME}." in said
    said = refused(
        write_file(tmp_path, f"{text}amount_cents = -1\n[plans.other]\ntrial_days = 731\n"), project=acme.slug
    )
    for problem in (
        "EMPTY_ONE, NO_SUCH_NAME",
        "prices[0].amount_cents: Give a whole",
        "other.trial_days: Give a whole",
    ):
        assert problem in said, said
    assert said.count("plans.pro.name") == 1
    assert not Plan.objects.for_project(acme).exists()


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("shop.toml", "[projects.x\n", "line 1"),
        ("shop.json", '{"projects": {', "line 1"),
        ("shop.json", '{"projects": {}, "projects": {}}', "stands twice"),
        ("shop.json", "[]", "Give an object"),
        ("shop.yaml", "projects:", "Give a .toml or a .json file."),
        ("shop.toml", "", "Declare at least one project"),
        ("shop.toml", "[plans.pro]\n", "--project SLUG"),
        ("shop.toml", "[plans.pro]\n[projects.x]\n", "take the projects out"),
        (
            "shop.toml",
            "[projects.x]\n[license_products.pro]\n",
            "license_products: Put these under [projects.SLUG.license_products].",
        ),
        ("shop.toml", "[projects.x]\nlicense_products = 5\n", "projects.x.license_products: Give a table."),
        ("shop.toml", "[projects.UPPER]\n", "lower-case letters"),
        ("shop.toml", "[projects.no-such-project]\n", "give its name and owner"),
        ("shop.toml", '[projects.no-such]\nname = "N"\nowner = "nobody@example.com"\n', "owner: Nobody has registered"),
        ("shop.toml", "[projects.x]\nplans = 5\n", "projects.x.plans: Give a table."),
        (
            "shop.toml",
            '[projects.x.stripe.test]\nsecret_key = "sk_live_wrongMode"\n',
            "test.secret_key: This is a live key",
        ),
    ],
    ids=range(15),
)
def test_a_file_that_cannot_be_is_refused_with_its_place(tmp_path: Path, name: str, text: str, problem: str) -> None:
    count = Project.objects.count()
    said = refused(write_file(tmp_path, text, name))
    assert said.startswith(name) and problem in said and "wrongMode" not in said
    assert Project.objects.count() == count


@pytest.mark.parametrize(("name", "other"), [("amount_cents", 1500), ("interval", '"year"'), ("currency", '"eur"')])
def test_what_is_fixed_at_stripe_is_not_written_over_by_a_file(
    acme: Project, tmp_path: Path, name: str, other: Any
) -> None:
    def declared(**changed: Any) -> Path:
        fields = {"mode": '"test"', "price_id": f'"price_{acme.slug}"', "amount_cents": 1000} | changed
        return write_file(
            tmp_path, "\n".join(["[[plans.pro.prices]]", *(f"{key} = {one}" for key, one in fields.items())])
        )

    apply(declared(), project=acme.slug)
    before = kept(acme)
    said = refused(declared(**{name: other}), project=acme.slug)
    assert f"shop.toml: plans.pro.prices[0].{name}: This price is at Stripe" in said
    assert kept(acme) == before
    assert apply(declared(), project=acme.slug) == f"{NOTHING}\n"


def test_a_refusal_in_the_middle_takes_everything_back(alice: Developer, acme: Project, tmp_path: Path) -> None:
    slug = new_slug()
    text = f"""
        [projects.{slug}]
        name = "New"
        owner = "{alice.user.email}"
        [projects.{slug}.plans.one]
        aliases = ["two"]
        [projects.{slug}.plans.two]
        [projects.{acme.slug}.plans.pro]
    """
    before = kept(acme)
    said = refused(write_file(tmp_path, text))
    assert "has the code or alias two" in said or "has this code or alias" in said
    assert not Project.objects.filter(slug=slug).exists() and kept(acme) == before
    said = refused(write_file(tmp_path, f'[projects.{acme.slug}]\ndefault_success_url = "https://evil.example"\n'))
    assert f"projects.{acme.slug}.default_success_url: This address is not on" in said and kept(acme) == before


def test_what_is_refused_of_several_plans_projects_and_keys_is_said_at_once(
    acme: Project, other_project: Project, tmp_path: Path
) -> None:
    apply("--preset", "credits", project=acme.slug)
    before = (kept(acme), kept(other_project))
    text = f"""
        [projects.{acme.slug}.plans.pro]
        aliases = ["maker"]
        [projects.{acme.slug}.plans.unlimited]
        aliases = ["free"]
        [projects.{acme.slug}.plans.fine]
        [projects.{other_project.slug}]
        default_success_url = "https://evil.example"
        [projects.{other_project.slug}.stripe.test]
        secret_key = "sk_live_wrongMode"
        [projects.no-such-project]
    """
    said = refused(write_file(tmp_path, text))
    for problem in (
        f"{acme.slug}.plans.pro.aliases",
        f"{acme.slug}.plans.unlimited.aliases",
        f"{other_project.slug}.default_success_url: This address is not on",
        f"{other_project.slug}.stripe.test.secret_key: This is a live key",
        "projects.no-such-project: There is no project no-such-project",
    ):
        assert said.count(problem) == 1, said
    assert ("fine" in said, (kept(acme), kept(other_project))) == (False, before)


def test_a_key_that_stripe_rejects_changes_nothing(alice: Developer, sandbox: Any, tmp_path: Path) -> None:
    slug = new_slug()
    text = f'[projects.{slug}]\nname = "New"\nowner = "{alice.user.email}"\n[projects.{slug}.stripe.test]\n'
    said = refused(write_file(tmp_path, f'{text}secret_key = "sk_test_ofNobody"\n'))
    assert f"projects.{slug}.stripe.test.secret_key: Stripe rejected this key" in said and "ofNobody" not in said
    assert not Project.objects.filter(slug=slug).exists()


# Edge


def test_a_name_and_being_free_move_from_one_plan_to_another(acme: Project, tmp_path: Path) -> None:
    before = '[plans.a]\nfree = true\naliases = ["basic"]\n[plans.b]\n'
    after = '[plans.b]\nfree = true\naliases = ["basic"]\n[plans.a]\nfree = false\naliases = []\n'
    apply(write_file(tmp_path, before), project=acme.slug)
    apply(write_file(tmp_path, after), project=acme.slug)
    found = Plan.objects.for_project(acme).values_list("code", "free", "aliases").order_by("code")
    assert list(found) == [("a", False, []), ("b", True, ["basic"])]


def test_a_price_that_is_not_to_be_sold_stays_off_sale(acme: Project, tmp_path: Path) -> None:
    file = write_file(tmp_path, '[[plans.pro.prices]]\nmode = "test"\namount_cents = 900\nactive = false\n')
    apply(file, project=acme.slug)
    assert apply(file, project=acme.slug) == f"{NOTHING}\n"
    assert price_rows(acme) == [("pro", "month", 900, "", "", False)]


# Race


def test_two_applies_at_once_make_one_project(
    alice: Developer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = new_slug()
    monkeypatch.setenv("PRO_EUR_PRICE", f"price_{slug}")
    file = write_file(tmp_path, whole_file(slug, alice.user.email))
    shown = at_once(4, lambda _: apply(file))
    assert sorted(text.splitlines()[-1] for text in shown) == ["8 changes made."] + [NOTHING] * 3
    project = Project.objects.get(slug=slug)
    assert Plan.objects.for_project(project).count() == 2
    assert PlanPrice.objects.for_project(project).count() == 5
