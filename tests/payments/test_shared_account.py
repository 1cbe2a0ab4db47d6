"""Events of a Stripe account that several projects share, whose object does not say whose it is."""

from typing import Any

from payments.models import Dispute, Transaction, WebhookEvent
from tests.payments.deliveries import control, process_all, send
from tests.scenarios.world import World, create_world


def disputed(sandbox: Any) -> tuple[World, list[dict[str, Any]]]:
    """Let a buyer of the first project pay and question the payment; nothing is delivered yet."""
    world = create_world(sandbox)
    world.buyers[0].buy()
    world.buyers[0].dispute()
    return world, world.events("test")


def take(world: World, events: list[dict[str, Any]]) -> None:
    for project in world.projects:
        for event in events:
            assert send(project, event).status_code == 200
        process_all(project)


def test_a_dispute_finds_the_project_of_its_payment(sandbox: Any) -> None:
    world, events = disputed(sandbox)
    take(world, [event for event in events if event["type"] == "charge.dispute.created"])
    mine, other = world.projects
    assert Dispute.objects.for_project(mine).get().status == "needs_response"
    assert Transaction.objects.for_project(mine).get().disputed
    assert not Dispute.objects.for_project(other).exists()
    assert not Transaction.objects.for_project(other).exists()
    assert WebhookEvent.objects.for_project(mine).get().status == "processed"
    assert WebhookEvent.objects.for_project(other).get().status == "ignored"


def test_its_end_finds_it_too(sandbox: Any) -> None:
    world, events = disputed(sandbox)
    take(world, events)
    control(world.shop, f"disputes/{world.objects('test', 'disputes')[0]['id']}/close", outcome="lost")
    take(world, [event for event in world.events("test") if event["type"] == "charge.dispute.closed"])
    assert Dispute.objects.for_project(world.projects[0]).get().status == "lost"


def test_a_payment_of_nobody_known_is_nobodys(sandbox: Any) -> None:
    world = create_world(sandbox)
    card: dict[str, Any] = {"payment_method": "pm_card_visa", "confirm": "true", "return_url": "https://app.example/"}
    world.shop.api("POST", "payment_intents", amount=700, currency="usd", **card)
    take(world, world.events("test"))
    for project in world.projects:
        assert not Transaction.objects.for_project(project).exists()
        left = WebhookEvent.objects.for_project(project).exclude(status="ignored").values_list("type", flat=True)
        assert not [kind for kind in left if not kind.startswith(("product.", "price."))]


def test_a_payment_that_names_a_project_is_its_alone(sandbox: Any) -> None:
    world = create_world(sandbox)
    card: dict[str, Any] = {"payment_method": "pm_card_visa", "confirm": "true", "return_url": "https://app.example/"}
    named: dict[str, Any] = {"metadata[project_id]": str(world.projects[1].pk)}
    world.shop.api("POST", "payment_intents", amount=700, currency="usd", **card, **named)
    # The charge carries its intent's metadata; a dispute of it carries none.
    charge = world.objects("test", "charges")[0]["id"]
    control(world.shop, f"charges/{charge}/dispute")
    take(world, [event for event in world.events("test") if event["type"] == "charge.dispute.created"])
    assert not Dispute.objects.for_project(world.projects[0]).exists()
    assert Dispute.objects.for_project(world.projects[1]).get().amount_cents == 700
