"""What no page sends and anybody can type into an address or a form: refused in words, and never a failure."""

import json

import pytest
from django.urls import reverse

from payments.models import WebhookEvent
from projects.models import Project
from tests.admin.test_payments_pages import sign_in
from tests.payments.rows import stripe_id


def test_filters_that_no_column_can_hold_lead_back_to_the_list() -> None:
    client = sign_in(superuser=True)
    for page, asked in (
        ("payments_transaction", "created_at__year=99999999999"),
        ("payments_transaction", "mode__exact=%00"),
        ("payments_webhookevent", "wait_reason=%00"),
    ):
        answer = client.get(f"{reverse(f'admin:{page}_changelist')}?{asked}")
        assert (answer.status_code, answer["Location"].endswith("e=1")) == (302, True), asked
    named = {"app_label": "projects", "model_name": "membership", "field_name": "project", "term": "\x00"}
    assert "results" in json.loads(client.get(reverse("admin:autocomplete"), named).content)


@pytest.mark.parametrize("chosen", ["nope", "\x00"])
def test_ids_that_no_row_can_have_are_refused(chosen: str) -> None:
    form = {"action": "replay_selected", "_selected_action": chosen, "confirmed": "yes", "reason": "Because."}
    assert sign_in(superuser=True).post(reverse("admin:payments_webhookevent_changelist"), form).status_code == 400


def test_addresses_of_rows_that_cannot_be_lead_to_none(acme: Project) -> None:
    client = sign_in(superuser=True)
    for name in ("accounts_familytoken", "allauth_idp_oidc_client"):
        for leaf in ("change", "history", "delete"):
            address = reverse(f"admin:{name}_{leaf}", args=["K"]).replace("/K/", "/%00/")
            assert client.get(address).status_code == 302, address
    add = reverse("admin:projects_membership_add")
    for odd in ("nope", "\x00"):
        assert client.get(add, {"project": odd}).status_code == 400
        assert client.post(add, {"project": str(acme.pk), "user": odd, "role": "owner"}).status_code == 400
    assert client.get(add, {"project": str(acme.pk), "user": ""}).status_code == 200


def test_an_export_of_all_days_that_can_be_written_is_made(acme: Project) -> None:
    asked = {"what": "events", "project": str(acme.pk), "since": "0001-01-01", "until": "9999-12-31", "format": "csv"}
    answer = sign_in(superuser=True).post(reverse("admin:backoffice_export_add"), asked, follow=True)
    assert answer.status_code == 200 and "The file is ready." in answer.content.decode()


def test_a_reason_that_could_not_be_kept_is_refused_before_anything_is_done(acme: Project) -> None:
    event = WebhookEvent.objects.create(project=acme, mode="test", event_id=stripe_id("evt"), status="dead")
    client = sign_in(superuser=True)
    form = {"action": "replay_selected", "_selected_action": str(event.pk), "confirmed": "yes", "reason": "a\x00b"}
    answer = client.post(reverse("admin:payments_webhookevent_changelist"), form)
    assert answer.status_code == 200 and "Say why" in answer.content.decode()
    event.refresh_from_db()
    assert event.status == "dead"
    roll = reverse("backoffice:roll-secret", args=[acme.pk, "test"])
    answer = client.post(roll, {"confirmed": "yes", "reason": "a\x00b"})
    assert answer.status_code == 200 and "Say why" in answer.content.decode()
