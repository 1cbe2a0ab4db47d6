"""The first page of the admin: right sums for whoever looks, in ten statements, and charts that read without seeing them."""

import datetime as dt
import json
import re
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from common.ids import uuid7
from entitlements.models import PlanPrice
from entitlements.services.credit_days import sum_credit_days
from entitlements.services.ledger import spend_credits
from payments.models import StripeCredentials, WebhookEvent
from payments.services.rollups import fold_rollups
from projects.models import Membership, Role
from tests.admin.desk import Desk, make_desk
from tests.admin.test_payments_pages import sign_in
from tests.payments.actors import create_project
from tests.payments.rows import create_payment, create_plan, create_subscription, stripe_id

INDEX = "/admin/"
QUERIES_MAX = 10


@pytest.fixture(scope="module")
def desks(django_db_setup: None, django_db_blocker: Any) -> tuple[Desk, Desk]:
    """Two projects of two owners, in which the same has happened."""
    with django_db_blocker.unblock():
        ours, theirs = make_desk("Acme"), make_desk("Other")
        create_payment(ours.project, amount_cents=500, currency="jpy")
        create_subscription(ours.project, status="canceled", ended_at=timezone.now())
        create_subscription(ours.project, status="trialing")
        create_subscription(ours.project, status="past_due", stripe_price_id="price_of_no_plan")
        spend_credits(
            project_id=ours.project.pk, mode="test", end_user_id=ours.user.pk, amount=30, key=f"spend-{ours.user.pk}"
        )
        assert sum_credit_days() >= 1 and sum_credit_days() == 0, "what is summed already changes nothing"
        return ours, theirs


def page(client: Client, query: str) -> str:
    answer = client.get(f"{INDEX}?{query}")
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def card(shown: str, title: str) -> str:
    found = [part for part in shown.split('<div class="desk-card">') if f"<small>{title}</small>" in part]
    assert len(found) == 1, title
    text = re.sub(r"<[^>]+>", " ", found[0].split('<div class="desk-columns">')[0])
    return " ".join(text.split()).removeprefix(title).strip()


def test_each_figure_is_the_sum_of_what_the_viewer_sees(desks: tuple[Desk, Desk]) -> None:
    ours, theirs = desks
    developer = sign_in(project=ours.project, role=Role.VIEWER)
    fold_rollups()
    shown = page(developer, "mode=test")
    assert ours.project.name in shown and theirs.project.name not in shown
    # Two of a price of 12 a month; the other price is on no plan.
    assert card(shown, "Monthly recurring revenue") == "24.00 USD 1 on a price without a plan are left out"
    assert [card(shown, name) for name in ("Active", "Trialing", "Past due", "Churned in 30 days")] == [
        "1",
        "1",
        "1",
        "1",
    ]
    assert card(shown, "Failed payments in 30 days") == "1 2 succeeded"
    assert [card(shown, name) for name in ("Waits for review", "Stuck licences", "Open incidents")] == ["1", "1", "0"]
    assert "Revenue in USD: 20.00 USD net of 4.00 USD refunded" in shown
    assert "Revenue in JPY: 500 JPY net of 0 JPY refunded" in shown
    assert "Credits: 30 used, 70 given" in shown
    charts = [json.loads(value) for value in re.findall(r'data-value="(\{.*?\})"', developer_html(developer))]
    drawn = {chart["datasets"][0]["label"]: chart for chart in charts}
    assert [sum(one["data"]) for one in drawn["Net"]["datasets"]] in ([20.0, 4.0], [500.0, 0.0])
    assert len(drawn["Given"]["labels"]) == 30
    # Live has none of it, and says so.
    live = page(developer, "mode=live")
    assert card(live, "Monthly recurring revenue") == "0 before discounts" and "No project has live keys yet." in live
    assert "Revenue in" not in live and card(live, "Active") == "0"


def developer_html(client: Client) -> str:
    return page(client, "mode=test").replace("&quot;", '"')


def test_every_viewer_is_answered_in_ten_statements_and_the_number_of_projects_does_not_matter(
    desks: tuple[Desk, Desk],
) -> None:
    ours, theirs = desks
    developer = sign_in(project=ours.project, role=Role.DEVELOPER)
    for client in (developer, sign_in(superuser=True), sign_in(group="Support"), sign_in(group="Moderator")):
        client.get(INDEX)
        for query in ("mode=test", f"mode=live&days=90&project={ours.project.pk}", "mode=x&days=x&project=x"):
            with CaptureQueriesContext(connection) as asked:
                page(client, query)
            assert len(asked) <= QUERIES_MAX, [query["sql"][:90] for query in asked.captured_queries]
            read = " ".join(query["sql"] for query in asked.captured_queries)
            assert "payments_transaction" not in read
    staff = page(sign_in(group="Support"), f"mode=test&project={theirs.project.pk}")
    assert "Revenue in USD: 20.00 USD" in staff and "JPY" not in staff
    # Somebody else's project is no choice: the developer gets the sum of their own.
    assert "Revenue in JPY" in page(developer, f"mode=test&project={theirs.project.pk}")


def test_no_currency_is_left_out_and_no_price_takes_the_page_away() -> None:
    project = create_project()
    # The currency of most payments comes first: amounts of two cannot be compared.
    for currency, amounts in {"usd": [900], "eur": [100, 100], "jpy": [70_000], "chf": [300], "gbp": [400]}.items():
        for amount in amounts:
            create_payment(project, amount_cents=amount, currency=currency)
    # Written by hand before there was a largest price.
    plan = create_plan(project)
    price = {"stripe_price_id": "price_huge", "amount_cents": 2**63 - 1}
    PlanPrice.objects.create(project=project, plan=plan, mode="test", currency="usd", **price)
    create_subscription(project, plan=plan, stripe_price_id="price_huge", quantity=2)
    shown = page(sign_in(project=project, role=Role.VIEWER), "mode=test")
    assert re.findall(r"Revenue in ([A-Z]{3}):", shown) == ["EUR", "CHF", "GBP"]
    rest = shown.split("Revenue in other currencies")[1].split("</section>")[0]
    assert re.findall(r"<td>(.*?)</td>", rest) == ["JPY", "70,000 JPY", "0 JPY", "USD", "9.00 USD", "0.00 USD"]
    assert card(shown, "Monthly recurring revenue").startswith("184,467,440,737,095,516.14 USD")


def test_without_a_project_or_a_sign_in_there_is_nothing_to_see(desks: tuple[Desk, Desk]) -> None:
    nobody = page(sign_in(), "mode=test")
    assert "There is no project that you may see yet." in nobody and desks[0].project.name not in nobody
    assert Client().get(INDEX).status_code == 302
    assert Client().get("/admin/search/?q=dana").status_code == 302


def webhooks(shown: str) -> dict[str, list[str]]:
    """Read the table of how webhooks fare: a project's endpoint, last event, since when one waits, how many are dead."""
    table = shown.partition("<h2>Webhooks from Stripe")[2].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL)
    cells = [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row.split("</td>")][:-1] for row in rows]
    return {row[0]: row[1:] for row in cells}


def test_how_webhooks_fare_is_told_for_each_project_and_mode() -> None:
    well, ill = make_desk("Well"), make_desk("Ill")
    viewer = sign_in(project=well.project, role=Role.VIEWER)
    Membership.objects.create(project=ill.project, user_id=viewer.session["_auth_user_id"], role=Role.VIEWER)
    events, moment = WebhookEvent.objects, timezone.now().replace(hour=7, minute=5)
    events.for_project(well.project).delete()
    whose: dict[str, Any] = {"project": ill.project, "type": "invoice.paid"}
    events.create(**whose, mode="live", event_id=stripe_id("evt"), status="dead")
    events.for_project(ill.project).update(received_at=moment)
    earlier = moment - dt.timedelta(days=1)
    events.create(**whose, mode="test", event_id=stripe_id("evt"), received_at=earlier)
    live = StripeCredentials.objects.for_project(ill.project).get()
    live.pk, live.mode, live.webhook_status, live.webhook_error = uuid7(), "live", "missing_events", "No invoice.paid"
    live.save(force_insert=True)
    last, since = f"{moment:%d %b %H:%M}", f"{earlier:%d %b %H:%M}"
    assert webhooks(page(viewer, "mode=test")) == {
        "Ill": ["managed", last, since, "1"],
        "Well": ["managed", "never", "–", "–"],
    }
    assert webhooks(page(viewer, "mode=live")) == {"Ill": ["missing_events No invoice.paid", last, "–", "1"]}
