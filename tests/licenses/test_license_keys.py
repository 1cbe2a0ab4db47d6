"""Licence keys: shown once, kept as a hash, in use on so many devices at a time, and worth nothing elsewhere."""

from typing import Any

import pytest
from django.test import Client

from licenses.models import License, LicenseActivation, LicenseProduct
from licenses.services.keys import make_key
from licenses.services.revoking import revoke_license
from projects.models import Project
from tests.builders import waits_until_free
from tests.cast import Developer
from tests.licenses.licensing import KEYS, license_in_hand, link_of
from tests.payments.shop import at_once


def ask(project: Project, leaf: str, key: str, *, query: str = "", **body: Any) -> Any:
    sent = {"project": project.slug, "license_key": key} | body
    address = f"2001:db8:1:{project.pk.hex[-4:]}::1"
    return Client(REMOTE_ADDR=address).post(f"{KEYS}/{leaf}{query}", sent, content_type="application/json")


@pytest.fixture
def held(acme: Project) -> License:
    return license_in_hand(acme)


@pytest.fixture
def key(held: License) -> str:
    return make_key(project_id=held.project_id, license_id=held.pk)


def test_a_key_is_shown_once_and_only_its_hash_is_kept(held: License) -> None:
    headers = {"Authorization": f"Bearer {link_of(held)}"}
    path = "/api/v1/license-access/license-key"
    first = Client().post(path, {}, content_type="application/json", headers=headers)
    assert first.status_code == 200 and first.json()["activation_limit"] == 2
    key = first.json()["license_key"]
    assert key.startswith("lk_") and len(key) == 3 + 26
    again = Client().post(path, {}, content_type="application/json", headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "already_created")
    row = License.objects.get(pk=held.pk)
    assert key not in str([str(getattr(row, field.attname)) for field in row._meta.concrete_fields])
    assert row.key_ending == key[-4:]
    other = (
        Client().post(path, {"replace": True}, content_type="application/json", headers=headers).json()["license_key"]
    )
    assert other != key
    assert ask(held.project, "verify", key).status_code == 403
    assert ask(held.project, "verify", other).json()["valid"] is True


def test_devices_take_and_free_places_up_to_the_limit(acme: Project, key: str) -> None:
    for device, used in (("a", 1), ("a", 1), ("b", 2)):
        answer = ask(acme, "activate", key, device_id=device, device_name="Laptop")
        assert (answer.status_code, answer.json()["activations"]) == (200, used)
    full = ask(acme, "activate", key, device_id="c")
    assert (full.status_code, full.json()["code"]) == (409, "activation_limit_reached")
    shown = ask(acme, "verify", key, device_id="c").json()
    assert (shown["activated"], shown["activations"], shown["activation_limit"]) == (False, 2, 2)
    assert ask(acme, "deactivate", key, device_id="a").json()["activations"] == 1
    assert ask(acme, "deactivate", key, device_id="a").json()["activations"] == 1
    assert ask(acme, "activate", key, device_id="c").status_code == 200
    assert {row.device_hash for row in LicenseActivation.objects.for_project(acme)}.isdisjoint({"a", "b", "c"})


def test_a_lower_limit_ends_nobodys_use_and_lets_nobody_else_in(acme: Project, held: License, key: str) -> None:
    for device in "ab":
        ask(acme, "activate", key, device_id=device)
    LicenseProduct.objects.filter(pk=held.product_id).update(activation_limit=1)
    for device, activated in (("a", True), ("b", True), ("c", False)):
        shown = ask(acme, "verify", key, device_id=device).json()
        assert shown == shown | {"activated": activated, "activations": 2, "activation_limit": 1}
    # Also when a program activates at each start.
    assert ask(acme, "activate", key, device_id="b").json()["activations"] == 2
    for freed, left in (("a", 1), ("b", 0)):
        refused = ask(acme, "activate", key, device_id="c")
        assert (refused.status_code, refused.json()["code"]) == (409, "activation_limit_reached")
        assert ask(acme, "deactivate", key, device_id=freed).json()["activations"] == left
    assert ask(acme, "activate", key, device_id="c").json()["activations"] == 1
    LicenseProduct.objects.filter(pk=held.product_id).update(activation_limit=None)
    assert ask(acme, "verify", key, device_id="c").json()["code"] == "license_key_invalid"
    LicenseProduct.objects.filter(pk=held.product_id).update(activation_limit=2)
    assert ask(acme, "verify", key, device_id="c").json()["activated"] is True


def test_a_key_is_worth_nothing_elsewhere(acme: Project, other_project: Project, key: str) -> None:
    for project, sent, query in (
        (other_project, key, ""), (acme, key, "?test_mode=false"), (acme, key[:-1] + ("B" if key.endswith("A") else "A"), ""),
        (acme, key.lower(), ""),
        (acme, "lk_", ""), (acme, "x", ""),
    ):  # fmt: skip
        for leaf in ("verify", "activate", "deactivate"):
            answer = ask(project, leaf, sent, query=query, device_id="d")
            assert answer.status_code == 403, (leaf, sent)
            assert answer.json()["code"] == "license_key_invalid"
    assert ask(acme, "verify", "x" * 65).status_code == 422
    assert not LicenseActivation.objects.for_project(acme).exists()


def test_a_revoked_licences_key_is_not_valid(acme: Project, held: License, key: str, alice: Developer) -> None:
    ask(acme, "activate", key, device_id="a")
    revoke_license(row=held, reason="Charged back", actor=alice.user)
    assert ask(acme, "verify", key).status_code == 403 and ask(acme, "activate", key, device_id="a").status_code == 403
    assert not LicenseActivation.objects.for_project(acme).exists()


def test_a_race_of_devices_never_passes_the_limit(acme: Project, key: str) -> None:
    answers = at_once(6, lambda number: ask(acme, "activate", key, device_id=f"device-{number}").status_code)
    assert sorted(answers) == [200, 200, 409, 409, 409, 409]
    assert LicenseActivation.objects.for_project(acme).count() == 2


def test_a_device_waits_for_another_of_the_same_licence(acme: Project, held: License, key: str) -> None:
    # Weaker than deleting: a new activation could be written beside it, were it not for the licence's own lock.
    row = License.objects.select_for_update(no_key=True).filter(pk=held.pk)
    activated = waits_until_free(row, lambda: ask(acme, "activate", key, device_id="laptop").status_code)
    assert activated == 200


def test_guesses_are_counted_per_address(acme: Project) -> None:
    answers = [ask(acme, "verify", "lk_GUESS").status_code for _ in range(121)]
    assert answers[0] == 403 and answers[-1] == 429
