"""Whatever buyers do, and however deliveries go astray, every project ends in Stripe's state and every effect happened once."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note
from hypothesis import settings as examples
from hypothesis import strategies as st

from payments.services.reconcile.reconciling import Wish, reconcile
from payments.webhooks import HANDLERS
from projects.models import Project
from tests.payments.deliveries import process_all
from tests.scenarios.against_stripe import check_no_secrets, compare_with_stripe
from tests.scenarios.soaking import SHARES, SOAKING, examples_of
from tests.scenarios.world import ACTIONS, MODES, Post, World, create_world, deliver_to_all

# A life begins with purchases, or most of it would be about nothing; what follows is any mixture, most of it about the first two.
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 1, 2, 3]), st.sampled_from(sorted(ACTIONS))), min_size=2, max_size=7
)


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600 if SOAKING else 900)
@pytest.mark.parametrize("share", SHARES)
def test_any_life_and_any_deliveries_end_in_the_state_of_stripe(sandbox: Any, settings: Any, share: int) -> None:
    lives_of_share = examples_of(share, soaking=2000, otherwise=50)
    settings.RECONCILE_SETTLE_SECONDS = 0
    projects: list[Project] = []

    @examples(
        max_examples=lives_of_share,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        # A life takes seconds: the one that failed is told, with its seed, and not made smaller.
        phases=[Phase.explicit, Phase.generate],
    )
    @given(steps=STEPS, seed=st.integers(0, 2**32 - 1), lost=st.sampled_from([0.0, 0.0, 0.05, 0.5]))
    def lives(steps: list[tuple[int, str]], seed: int, lost: float) -> None:
        note(f"seed={seed} lost={lost} steps={steps}")
        chance = random.Random(seed)
        world = create_world(sandbox, chance)
        projects.extend(world.projects)
        live_through(world, steps, Post(chance, lost=lost))
        compare_with_stripe(world)

    lives()
    check_no_secrets(projects)


def live_through(world: World, steps: list[tuple[int, str]], post: Post) -> None:
    """Let it all happen; deliveries come in between and afterwards, and old ones again at the end."""
    seen = dict.fromkeys(MODES, 0)
    for buyer in world.buyers[:2]:
        buyer.buy()
    for number, (who, action) in enumerate(steps):
        # Nothing happens to somebody who has bought nothing: their first step is the purchase.
        ACTIONS[action if world.buyers[who].subscription_id else "buy"](world.buyers[who])
        if number % 4 == 3:
            _deliver_new(world, post, seen)
    _deliver_new(world, post, seen)
    for mode in MODES if post.lost else ():
        for project in world.projects:
            reconcile(project_id=project.pk, mode=mode, wish=Wish("events", types=tuple(HANDLERS)))
            process_all(project)
    for mode in MODES:
        events = world.events(mode)
        deliver_to_all(world, post, mode, post.chance.sample(events, k=min(3, len(events))))


def _deliver_new(world: World, post: Post, seen: dict[str, int]) -> None:
    for mode in MODES:
        events = world.events(mode)
        deliver_to_all(world, post, mode, events[seen[mode] :])
        seen[mode] = len(events)
