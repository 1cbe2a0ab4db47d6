"""/api/v1/projects/{id}/hosted-pages: developers set what the admin's form sets, by the same checks, and it is logged."""

from typing import Any

from hosted.models import HostedPages
from moderation.models import ActionLog
from projects.models import Project
from tests.cast import Developer, set_role
from tests.hosted.visitors import Visitor

WANTED = {
    "sign_in_url": "https://app.example/in?next=billing", "return_url": "http://localhost:3000/", "time_zone": "Europe/Berlin",
}  # fmt: skip
DEFAULT = {"sign_in_url": None, "return_url": None, "time_zone": "UTC"}


def ask(who: Developer, project: Project, body: Any = None) -> Any:
    address = f"/api/v1/projects/{project.pk}/hosted-pages"
    return who.client.get(address) if body is None else who.client.put(address, body, content_type="application/json")


def test_choices_are_set_read_logged_and_taken_back(acme: Project, bob: Developer, charlie: Developer) -> None:
    shipped = ask(bob, acme)
    assert shipped.status_code == 200 and shipped.json() == shipped.json() | DEFAULT
    for mode in ("test", "live"):
        assert shipped.json()[mode]["pricing"].endswith(f"/hosted/{acme.slug}/{mode}/pricing")
    saved = ask(bob, acme, WANTED)
    assert saved.status_code == 200 and saved.json() == shipped.json() | WANTED == ask(bob, acme).json()
    line = ActionLog.objects.for_project(acme).get(action="hosted_pages.save")
    assert (line.actor_id, line.details["changed"]["time_zone"]) == (bob.user.pk, ["UTC", "Europe/Berlin"])
    # The same again is no change, and the pages follow.
    assert ask(bob, acme, WANTED).status_code == 200
    assert ActionLog.objects.for_project(acme).filter(action="hosted_pages.save").count() == 1
    assert "https://app.example/in?next=billing" in Visitor(acme).get("account").content.decode()
    for name, value in (
        ("sign_in_url", "javascript:alert(1)"), ("return_url", "https://app.example@evil.example/"), ("return_url", "https://evil.example/"),
        ("return_url", 7),
        ("time_zone", "Mars/Olympus"), ("time_zone", "../../etc/passwd"),
    ):  # fmt: skip
        refused = ask(bob, acme, WANTED | {name: value})
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", name]), value
    assert ask(bob, acme).json() == saved.json()
    set_role(acme, bob, "viewer")
    assert [ask(bob, acme).status_code, ask(bob, acme, {}).status_code] == [200, 403]
    assert [ask(charlie, acme).status_code, ask(charlie, acme, {}).status_code] == [404, 404]
    set_role(acme, bob, "developer")
    assert ask(bob, acme, {}).json() == shipped.json()
    assert HostedPages.objects.for_project(acme).count() == 1


def test_the_way_back_is_on_an_origin_that_is_allowed_now(acme: Project, bob: Developer) -> None:
    """S30: a choice outlives the list that it was checked by."""
    acme.default_return_url = "https://app.example/default"
    acme.save()
    assert ask(bob, acme, {"return_url": "https://app.example/back"}).status_code == 200
    back = 'href="https://app.example/back"'
    assert all(back in Visitor(acme, mode).get("pricing").content.decode() for mode in ("test", "live"))
    # A laptop is led to in test mode only.
    assert ask(bob, acme, {"return_url": "http://localhost:3000/"}).status_code == 200
    shown, live = (Visitor(acme, mode).get("pricing").content.decode() for mode in ("test", "live"))
    assert 'href="http://localhost:3000/"' in shown and "localhost:3000" not in live
    assert 'href="https://app.example/default"' in live
    assert ask(bob, acme, {"return_url": "https://app.example/back"}).status_code == 200
    Project.objects.filter(pk=acme.pk).update(allowed_origins=["https://new.example"])
    for mode in ("test", "live"):
        assert "https://app.example/" not in Visitor(acme, mode).get("pricing").content.decode()
