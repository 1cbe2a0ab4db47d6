"""What stands at the top of the admin's pages: the menu's names, ids as they are written, what a form is about to do."""

from django.test import Client
from django.urls import reverse

from projects.models import Project, Role
from tests.admin.test_payments_pages import sign_in
from tests.payments.rows import create_end_user, create_payment, create_subscription


def heading(page: str) -> str:
    return " ".join(page.partition("<h1")[2].partition("</h1>")[0].split())


def test_a_list_is_called_what_the_menu_calls_it_and_says_how_many_it_holds(acme: Project) -> None:
    payment = create_payment(acme)
    client = sign_in(superuser=True)
    address = reverse("admin:payments_transaction_changelist")
    listed = client.get(f"{address}?q={payment.payment_intent_id}").content.decode()
    assert ">Payments</a>" in heading(listed) and "Customers" in heading(listed)
    # The browser's tab says the same, and shows an icon that is there.
    assert listed.partition("<title>")[2].partition("</title>")[0].split() == ["Payments", "|", "Payments"]
    assert 'href="/static/backoffice/icon.svg"' in listed
    assert ">1 (<a" in heading(listed) and "show all" in heading(listed)
    assert "show all" not in heading(client.get(address).content.decode())
    row = client.get(reverse("admin:payments_transaction_change", args=[payment.pk])).content.decode()
    assert f">{payment}</a>" in heading(row)
    nothing = client.get(f"{address}?q=no_such_payment").content.decode()
    assert "Nothing matches" in nothing and "yielded" not in nothing


def test_the_form_of_a_deed_says_what_will_be_done(acme: Project) -> None:
    subscription, payment = create_subscription(acme), create_payment(acme)
    client = sign_in(superuser=True)
    for name, row, title in (
        ("admin:payments_subscription_cancel", subscription, "Cancel the subscription"),
        ("admin:payments_subscription_comp", subscription, "Give free days"),
        ("admin:payments_transaction_refund", payment, f"Refund {payment.payment_intent_id}"),
    ):
        assert f">{title}</h2>" in client.get(reverse(name, args=[row.pk])).content.decode(), name


def test_the_menu_leads_to_the_dashboard_and_marks_where_one_is(acme: Project) -> None:
    client = sign_in(superuser=True)
    page = client.get(reverse("admin:index")).content.decode()
    entry = next(part for part in page.split("<a ") if 'href="/admin/"' in part and ">Dashboard<" in part)
    assert " active" in entry.partition(">")[0]


def test_an_address_where_nothing_is_answers_staff_with_a_page(acme: Project, other_project: Project) -> None:
    user = create_end_user(acme)
    client = sign_in(project=other_project, role=Role.OWNER)
    for path in ("/admin/nope/", reverse("backoffice:end-user", args=[user.pk])):
        answer = client.get(path)
        assert answer.status_code == 404 and answer["Content-Type"].startswith("text/html"), path
        page = answer.content.decode()
        assert "Nothing is at this address" in page and 'id="desk-search"' in page and user.external_id not in page
    # Programs, and whoever has no business here, get what they get everywhere.
    assert Client().get("/admin/nope/").status_code == 302
