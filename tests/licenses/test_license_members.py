"""Whoever belonged to the organisation before a licence belongs to it after: only the team is the licence's."""

from licenses.models import GitHubConnection, LicenseProductPrice, LicenseSeat
from tests.github import TEAM
from tests.licenses.licensing import LicenseShop


def names(seller: LicenseShop) -> set[str]:
    """Name who belongs to the organisation, besides its owner."""
    return {member["login"] for member in seller.org.state()["members"]} - {seller.org.owner}


def test_a_colleague_who_loses_the_licence_stays_in_the_organisation(seller: LicenseShop) -> None:
    colleague, buyer = (seller.org.person()[0] for _ in range(2))
    seller.org.set_role(colleague, "member")
    first = seller.buy()
    first.submit(colleague)
    seller.work()
    assert first.license.state == "active" and seller.org.members() == [colleague]
    second = seller.buy().active(buyer)
    # A second licence of the same person does not make them a member of before.
    third = seller.buy()
    third.submit(buyer)
    seller.work()
    assert [seat.was_member for seat in LicenseSeat.objects.for_project(seller.project).order_by("created_at")] == [
        True, False, False,
    ]  # fmt: skip
    for holder in (first, second, third):
        holder.refund()
        seller.work()
    assert seller.org.members() == [] and names(seller) == {colleague}


def test_the_end_of_a_test_licence_takes_nothing_from_a_live_one(seller: LicenseShop) -> None:
    login, number = seller.org.person()
    holder = seller.buy().active(login)
    row = holder.license
    LicenseProductPrice.objects.create(project=seller.project, product=row.product, mode="live", amount_cents=4900)
    live = GitHubConnection(project=seller.project, mode="live", organization=seller.org.login, team_slug=TEAM)
    live.set_token(seller.org.token)
    live.save()
    row.pk, row.mode, row.stripe_session_id, row.payment_intent_id = None, "live", "cs_live_1", "pi_live_1"
    row._state.adding = True
    row.save(force_insert=True)
    LicenseSeat.objects.create(
        project=seller.project, mode="live", license=row, revision=row.revision, github_user_id=number, login=login,
        organization=seller.org.login, team_slug=TEAM,
    )  # fmt: skip
    holder.refund()
    seller.work()
    assert holder.license.state == "revoked" and seller.org.members() == [login]
