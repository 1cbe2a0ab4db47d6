"""A restored database: what LiteLLM was told before the loss is not told again where that would give something twice."""

import datetime as dt

from django.core.management import call_command

from common import clock
from entitlements.models import PlanPrice
from tests.cast import AppUser
from tests.entitlements.packs import deliver_new
from tests.entitlements.provisioned import World
from tests.payments.deliveries import keys_were_saved, set_webhook_secret
from tests.payments.shop import Shop, open_checkout

PRO = {"compute_budget_cents": 2000, "requests_per_minute": 60, "rank": 2}


def test_f41_spend_that_was_set_back_before_the_loss_is_not_set_back_again(
    world: World, shop: Shop, erin: AppUser
) -> None:
    """The backup is from before dana's purchase was known, and from the moment in which erin's was, but not at LiteLLM."""
    set_webhook_secret(shop.project)
    keys_were_saved(shop.project, "test")
    world.connect(spend_reset="payment")
    world.plan("free", free=True, compute_budget_cents=1000, rank=0)
    pro, price = world.plan("pro", **PRO), shop.price(1299)
    PlanPrice.objects.create(project=world.project, plan=pro, mode="test", stripe_price_id=price, amount_cents=1299)
    for user in (world.user.end_user, erin.end_user):
        world.hold(world.plan("free"), user=user)
        world.hold(None, user=user)
    world.run()
    assert shop.pay(open_checkout(world.user, price)["checkout_url"]).status_code == 303
    world.hold(pro, user=erin.end_user, period=clock.now() - dt.timedelta(days=1))
    # In the time that was lost both were set back, and have spent since.
    for user in (world.user.end_user, erin.end_user):
        world.proxy.call_model(world.proxy.key_of(world.user_id(user=user)), 3)

    def spent() -> list[float]:
        rows = world.proxy.users()
        return [rows[world.user_id(user=user)]["enforced_spend"] for user in (world.user.end_user, erin.end_user)]

    until = clock.now() + dt.timedelta(minutes=1)
    for _ in range(2):
        call_command("after_restore", "--project", world.project.slug, "--since", "6h", "--until", until.isoformat())
        world.run()
        assert (world.limits()[0], world.limits(user=erin.end_user)[0], spent()) == (20, 20, [3, 3])
    # What Stripe delivers late belongs to the past, too; the next period does not.
    deliver_new(shop)
    world.run()
    assert spent() == [3, 3]
    later = until + dt.timedelta(days=30)
    world.hold(pro, subscription_id=world.entitlement().subscription_id, period=later)
    world.hold(pro, user=erin.end_user, period=later)
    world.run()
    assert spent() == [0, 0]
