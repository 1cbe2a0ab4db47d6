"""Records say what people say: money with its currency, what is known line by line, roles and not groups."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from accounts.models import User
from moderation.models import ReviewItem
from moderation.services.action_log import log_action
from payments.admin.display import facts
from tests.admin.test_payments_pages import sign_in
from tests.cast import create_developer
from tests.payments.actors import create_project
from tests.payments.rows import create_dispute, create_invoice, create_payment, create_refund

pytestmark = pytest.mark.usefixtures("database")


def shown(client: Client, row: Any) -> str:
    """Return what a row's page shows."""
    answer = client.get(reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_records_amounts_are_written_as_in_the_list() -> None:
    project, client = create_project("Acme"), sign_in(group="Support")
    payment = create_payment(project, amount_cents=120000, currency="jpy", refunded_amount_cents=3456)
    invoice = create_invoice(
        project, amount_due_cents=2400, amount_paid_cents=1400, amount_remaining_cents=1000, currency="kwd"
    )
    pages = {
        payment: ("120,000 JPY", "3,456 JPY"),
        create_refund(payment, amount_cents=100): ("100 JPY",),
        create_dispute(payment): ("120,000 JPY",),
        invoice: ("2.400 KWD", "1.400 KWD", "1.000 KWD"),
    }
    for row, amounts in pages.items():
        page = shown(client, row)
        assert [amount for amount in amounts if page.count(amount) != 1] == [], row
        assert " cents" not in page, row


def test_what_is_known_is_told_line_by_line_without_secrets() -> None:
    project, client = create_project("Acme"), sign_in(group="Support")
    details = {
        "amount_cents": 2499, "currency": "usd", "reported_by": {"kind": "end_user", "id": "dana"}, "actionable": True,
        "text": "<b>Sells</b> sk_live_" + "a" * 24, "lookup_key": None,
    }  # fmt: skip
    item = ReviewItem.objects.create(
        project=project, mode="test", kind="report", cause_key="report:1", title="Abuse", details=details
    )
    line = log_action(action="payment.refund", subject="pi_1", actor=None, project_id=project.pk, details=details)
    for row in (item, line):
        page = shown(client, row)
        for text in (
            "<dt>Amount</dt><dd>24.99 USD</dd>", "<dt>Reported by</dt><dd>id dana, kind end_user</dd>",
            "<dt>Actionable</dt><dd>yes</dd>", "&lt;b&gt;Sells&lt;/b&gt;", "<dt>Lookup key</dt><dd>-</dd>",
        ):  # fmt: skip
            assert text in page, text
        assert "a" * 24 not in page
    assert facts({}) == "-"
    assert "<dd>1, 2</dd>" in facts({"amounts": [1, 2]})


def test_the_menus_word_for_roles_is_on_the_users_page_and_list() -> None:
    someone = create_developer("someone").user
    someone.groups.add(Group.objects.get(name="Support"))
    for group in ("Admin", "Support"):
        client = sign_in(group=group)
        page = shown(client, User.objects.get(pk=someone.pk))
        assert "Roles" in page and "Support" in page, group
        assert "vailable groups" not in page and ">Groups:" not in page, group
        listed = client.get(reverse("admin:accounts_user_changelist")).content.decode()
        assert "By role" in listed and "By groups" not in listed, group
