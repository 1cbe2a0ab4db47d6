"""From Stripe's page to the app: a purchase is told in the API's shapes, once, whatever Stripe delivers again."""

from typing import Any

from standardwebhooks import Webhook

from tests.cast import AppUser
from tests.notifications.consumer import running_consumer
from tests.notifications.listening import deliver as deliver_webhooks
from tests.notifications.listening import listen
from tests.payments.deliveries import an_event, deliver, purchase, set_webhook_secret
from tests.payments.shop import Shop, get


def test_a_purchase_is_told_to_the_app_once_in_the_apis_shapes(shop: Shop, dana: AppUser, settings: Any) -> None:
    set_webhook_secret(shop.project)
    with running_consumer() as app:
        settings.WEBHOOK_ALLOWED_HOSTS = [app.host]
        listening = listen(shop.project, app, event_types=["subscription.*", "payment.*"])
        live = listen(shop.project, app, "/live", mode="live")
        events = purchase(shop, dana, shop.price(1000))
        deliver(shop, events)
        deliver_webhooks(shop.project)
        deliver(shop, [an_event(event["type"], data=event["data"]) for event in events])
        deliver_webhooks(shop.project)
        told = [Webhook(listening.secret).verify(one.body, one.headers) for one in app.seen]
        assert live.deliveries() == []
    of = {event["type"]: event["data"] for event in told}
    assert len(of) == len(told) and {"subscription.created", "payment.succeeded"} <= set(of)
    (payment,) = get(dana, "my-payments").json()["payments"]
    assert of["payment.succeeded"] == payment
    subscription = get(dana, "my-subscription").json()
    assert set(of["subscription.created"]) == set(subscription)
    assert of["subscription.created"]["subscription_id"] == subscription["subscription_id"]
    assert {event["external_user_id"] for event in of.values()} == {dana.user_id}
