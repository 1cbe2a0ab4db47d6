"""Users in the admin: what the role Admin saves is what it was offered, and nothing besides."""

from django.contrib.auth.models import Group

from accounts.models import User
from tests.admin.test_payments_pages import sign_in, url
from tests.cast import create_developer


def test_who_is_in_another_group_besides_stays_there_when_the_role_admin_saves_them() -> None:
    someone = create_developer("someone").user
    support, moderator = Group.objects.get(name="Support"), Group.objects.get(name="Moderator")
    besides = Group.objects.create(name=f"bookkeeping-{someone.pk}")
    someone.groups.add(support, besides)
    fields = {"email": someone.email, "full_name": "Changed", "is_active": "on", "is_staff": "on"}
    page = url(User, "change", someone.pk)
    for role, client in ((moderator, sign_in(group="Admin")), (support, sign_in(group="Admin"))):
        assert client.post(page, fields | {"groups": [str(role.pk)]}).status_code == 302
        assert {*someone.groups.all()} == {role, besides}
    # A superuser is offered every group, and takes it away.
    assert sign_in(superuser=True).post(page, fields | {"groups": [str(support.pk)]}).status_code == 302
    assert [*someone.groups.all()] == [support]
