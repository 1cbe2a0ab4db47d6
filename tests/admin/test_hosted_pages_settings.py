"""The admin page of a project's hosted pages: who may set them, and what cannot be shown is refused."""

from django.urls import reverse

from hosted.models import HostedPages
from projects.models import Project
from tests.cast import Developer, set_role
from tests.notifications.test_brand import sign_in

ADD = reverse("admin:hosted_hostedpages_add")
LIST = reverse("admin:hosted_hostedpages_changelist")


def test_a_developer_sets_their_projects_pages_and_nobody_elses(
    acme: Project, alice: Developer, bob: Developer, charlie: Developer, other_project: Project
) -> None:
    good = {
        "project": str(acme.pk),
        "sign_in_url": "https://app.example/sign-in?next=billing",
        "return_url": "http://localhost:3000/home",
        "time_zone": "Europe/Berlin",
    }
    client = sign_in(alice)
    for change, text in (
        ({"sign_in_url": "javascript:alert(1)"}, "Give a whole address"),
        ({"return_url": "https://app.example@evil.example/"}, "Give a whole address"),
        ({"return_url": "//evil.example"}, "Give a whole address"),
        ({"return_url": "https://evil.example/"}, "not on one of the project"),
        ({"time_zone": "Mars/Olympus"}, "There is no such time zone"),
        ({"project": str(other_project.pk)}, "Select a valid choice"),
    ):
        answer = client.post(ADD, good | change)
        assert answer.status_code == 200 and text in answer.content.decode(), change
    assert not HostedPages.objects.filter(project__in=[acme, other_project]).exists()
    assert client.post(ADD, good).status_code == 302
    row = HostedPages.objects.get(project=acme)
    assert (row.sign_in_url, row.time_zone) == (good["sign_in_url"], "Europe/Berlin")

    page = reverse("admin:hosted_hostedpages_change", args=[row.pk])
    assert f"/hosted/{acme.slug}/live/pricing" in client.get(LIST).content.decode()
    assert acme.slug not in sign_in(charlie).get(LIST).content.decode()
    assert sign_in(charlie).get(page).status_code == 302
    set_role(acme, bob, "viewer")
    viewer = sign_in(bob)
    refused = client.post(page, good | {"return_url": "https://evil.example/"})
    assert refused.status_code == 200 and "not on one of the project" in refused.content.decode()
    assert viewer.get(page).status_code == 200 and viewer.post(page, good).status_code == 403
