"""POST usage/events: each report counts once, in one period, and of a batch all or none."""

import datetime as dt
import json
import uuid
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import clock
from entitlements.models import Meter, UsageEvent, UsagePeriod, UsageTotal
from entitlements.services.overage import close_ended_periods
from entitlements.services.usage import UsageReport, read_usage, report_usage
from entitlements.services.usage_periods import held_periods
from projects.models import Project
from tests.cast import AppServer, AppUser
from tests.entitlements.metering import differences, event, hold, plan_with, post, report, rows_of, summary, used
from tests.payments.rows import create_end_user, create_plan
from tests.payments.shop import at_once


def test_a_report_counts_in_the_running_period_and_makes_the_usual_meter(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    answer = post(
        acme_server,
        "events",
        {"user_id": dana.user_id, "meter": "tokens", "quantity": 1500, "idempotency_key": "k1", "metadata": {"run": 7}},
    )
    assert answer.status_code == 200, answer.content
    assert answer.json() == {
        "accepted": 1,
        "duplicates": 0,
        "events": [{"idempotency_key": "k1", "status": "accepted", "late": False, "differs": False}],
    }
    row = UsageEvent.objects.for_project(acme).get()
    assert (row.quantity, row.mode, row.reporter, row.metadata) == (Decimal(1500), "test", "", {"run": 7})
    meter = Meter.objects.for_project(acme).get(code="tokens")
    # $0.06 for a thousand.
    assert (meter.unit_amount * 1000, meter.currency) == (Decimal(6), "usd")
    period = UsagePeriod.objects.for_project(acme).get()
    assert period.starts_at <= clock.now() < period.ends_at
    assert (period.starts_at.day, period.ends_at.day, period.starts_at.hour) == (1, 1, 0)
    assert used(acme_server, dana.user_id)["tokens"] == "1500"
    assert differences(acme) == []


def test_a_batch_is_exact_and_keys_that_were_used_count_nothing_again(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    batch = [event("searches", "0.1", "a"), event("searches", "0.2", "b"), event("api_calls", 10**12 - 1, "c")]
    batch.append(event("searches", "0.1", "a"))
    first = report(acme_server, dana.user_id, *batch)
    assert (first["accepted"], first["duplicates"]) == (3, 1)
    assert [one["status"] for one in first["events"]] == ["accepted", "accepted", "accepted", "duplicate"]
    again = report(acme_server, dana.user_id, *batch, event("searches", "0.000001", "d"))
    assert (again["accepted"], again["duplicates"]) == (1, 4)
    assert used(acme_server, dana.user_id) == {"searches": "0.300001", "api_calls": "999999999999"}
    assert differences(acme) == []
    total = UsageTotal.objects.for_project(acme).get(meter__code="searches")
    assert (total.used, total.events) == (Decimal("0.300001"), 3)


def test_a_key_that_comes_with_something_else_says_so_and_counts_what_came_first(
    acme: Project, acme_server: AppServer, dana: AppUser, erin: AppUser
) -> None:
    report(acme_server, dana.user_id, event("searches", "5", "a"))
    more = report(acme_server, dana.user_id, event("searches", "6", "a"), event("searches", "5.0", "a"))
    assert [(one["status"], one["differs"]) for one in more["events"]] == [("duplicate", True), ("duplicate", False)]
    other = report(acme_server, erin.user_id, event("searches", "5", "a"))
    assert other["events"][0]["differs"] is True
    assert used(acme_server, dana.user_id) == {"searches": "5"}
    assert used(acme_server, erin.user_id) == {}


def test_an_end_user_reports_for_themselves_under_keys_that_take_none_of_the_servers(
    acme: Project, acme_server: AppServer, dana: AppUser, erin: AppUser
) -> None:
    assert report(dana, None, event("searches", "1", "same"))["accepted"] == 1
    assert report(erin, None, event("searches", "2", "same"))["accepted"] == 1
    assert report(acme_server, dana.user_id, event("searches", "10", "same"))["accepted"] == 1
    assert used(dana) == {"searches": "11"}
    assert used(erin) == {"searches": "2"}
    refused = post(dana, "events", {"user_id": erin.user_id, **event()})
    assert refused.status_code == 404
    assert UsageEvent.objects.for_project(acme).count() == 3


def test_modes_and_projects_are_apart(
    acme: Project, acme_server: AppServer, acme_live_server: AppServer, other_server: AppServer, dana: AppUser
) -> None:
    for server in (acme_server, acme_live_server, other_server):
        assert report(server, dana.user_id, event("searches", "3", "same"))["accepted"] == 1
    report(acme_live_server, dana.user_id, event("searches", "1"))
    assert used(acme_server, dana.user_id) == {"searches": "3"}
    assert used(acme_live_server, dana.user_id) == {"searches": "4"}
    assert used(other_server, dana.user_id) == {"searches": "3"}
    assert post(acme_server, "events", {"user_id": dana.user_id, **event()}, "?test_mode=false").status_code == 400


BAD: list[tuple[dict[str, Any], str]] = [
    ({"quantity": 0}, "quantity"),
    ({"quantity": -1}, "quantity"),
    ({"quantity": "-0.5"}, "quantity"),
    ({"quantity": 1.5}, "quantity"),
    ({"quantity": True}, "quantity"),
    ({"quantity": "1e3"}, "quantity"),
    ({"quantity": "NaN"}, "quantity"),
    ({"quantity": "0.0000001"}, "quantity"),
    ({"quantity": "0.000000"}, "quantity"),
    ({"quantity": 10**12}, "quantity"),
    ({"quantity": "１"}, "quantity"),
    ({"quantity": None}, "quantity"),
    ({"meter": "unheard-of"}, "meter"),
    ({"meter": ""}, "meter"),
    ({"idempotency_key": ""}, "idempotency_key"),
    ({"idempotency_key": "x" * 256}, "idempotency_key"),
    ({"idempotency_key": "a\u0000b"}, "idempotency_key"),
    ({"timestamp": "2026-01-01"}, "timestamp"),
    ({"timestamp": "2026-01-01T00:00:00"}, "timestamp"),
    ({"timestamp": 0}, "timestamp"),
    ({"timestamp": "2100-01-01T00:00:00Z"}, "timestamp"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {"text": "a\u0000b"}}, "metadata"),
    ({"metadata": {"text": "x" * 3000}}, "metadata"),
    ({"metadata": {"deep": json.loads("[" * 20 + "]" * 20)}}, "metadata"),
]


def test_a_bad_report_is_named_by_place_and_field_and_nothing_of_its_batch_counts(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    for change, field in BAD:
        answer = post(
            acme_server, "events", {"user_id": dana.user_id, "events": [event(), {**event(), **change}, event()]}
        )
        assert answer.status_code == 422, (change, answer.content)
        problems = answer.json()["detail"]
        assert [one["loc"][:4] for one in problems] == [["body", "events", 1, field]], change
        single = post(acme_server, "events", {"user_id": dana.user_id, **event(), **change})
        assert [one["loc"] for one in single.json()["detail"]] == [["body", field]], change
    assert rows_of(acme) == (0, 0, 0, 0)


def test_a_body_that_is_neither_one_report_nor_a_batch_is_refused(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    named = {"user_id": dana.user_id}
    for body, loc in (
        (named, ["body", "meter"]),
        (named | {"events": []}, ["body", "events"]),
        (named | {"events": [event()] * 1001}, ["body", "events"]),
        (named | {"events": [event()], "meter": "searches"}, ["body", "meter"]),
        (event(), ["body", "user_id"]),
        (event() | {"user_id": "\u0000"}, ["body", "user_id"]),
    ):
        answer = post(acme_server, "events", body)
        assert answer.status_code == 422, answer.content
        assert answer.json()["detail"][0]["loc"] == loc
    assert rows_of(acme) == (0, 0, 0, 0)


def test_a_meter_that_is_switched_off_is_no_meter(acme: Project, acme_server: AppServer, dana: AppUser) -> None:
    Meter.objects.create(project=acme, code="searches", name="Searches", active=False)
    assert post(acme_server, "events", {"user_id": dana.user_id, **event("searches")}).status_code == 422
    Meter.objects.create(project=acme, code="pages", name="Pages", unit="page", unit_amount="2.5")
    assert report(acme_server, dana.user_id, event("pages", "4"))["accepted"] == 1


def test_a_thousand_reports_take_few_statements(
    acme: Project, acme_server: AppServer, dana: AppUser, django_assert_max_num_queries: Any
) -> None:
    reports = [UsageReport("searches", Decimal(1), f"k{number}") for number in range(1000)]
    whose = {"project_id": acme.pk, "mode": "test", "end_user_id": dana.end_user.pk}
    report_usage(**whose, reports=[UsageReport("searches", Decimal(1), "before")])  # type: ignore[arg-type]
    # Meters, begin, periods, what is held, the free plan, the batch, commit.
    with django_assert_max_num_queries(7):
        outcomes = report_usage(**whose, reports=reports)  # type: ignore[arg-type]
    assert all(one.accepted for one in outcomes)
    assert used(acme_server, dana.user_id) == {"searches": "1001"}


def test_what_happened_before_the_period_counts_there_until_it_is_billed_then_in_the_running_one(
    acme: Project, acme_server: AppServer, dana: AppUser, time_machine: Any
) -> None:
    plan = plan_with(acme, {"searches": 10})
    now = dt.datetime(2026, 11, 11, 12, tzinfo=dt.UTC)
    time_machine.move_to(now, tick=False)
    hold(dana.end_user, plan, since=now - dt.timedelta(days=29), until=now + dt.timedelta(hours=1))
    report(acme_server, dana.user_id, event("searches", "4"))
    time_machine.move_to(now + dt.timedelta(hours=1, minutes=5), tick=False)
    # The renewal's webhook is late; the period goes on by itself.
    before = (now + dt.timedelta(minutes=59)).isoformat()
    in_time = report(acme_server, dana.user_id, event("searches", "2", timestamp=before), event("searches", "1"))
    assert [one["late"] for one in in_time["events"]] == [False, False]
    hold(dana.end_user, plan, since=now + dt.timedelta(hours=1))
    assert used(acme_server, dana.user_id) == {"searches": "1"}
    time_machine.move_to(now + dt.timedelta(hours=1, minutes=16), tick=False)
    assert close_ended_periods() >= 1
    late = report(acme_server, dana.user_id, event("searches", "7", timestamp=before))
    assert late["events"][0]["late"] is True
    told = summary(acme_server, dana.user_id)["meters"][0]
    assert (told["used"], told["late"]) == ("8", "7")
    closed, running = UsagePeriod.objects.for_project(acme).order_by("starts_at")
    assert closed.ends_at == running.starts_at
    assert closed.totals.get().used == 6
    assert differences(acme) == []


def test_a_plan_that_changes_cuts_the_period_or_goes_on_in_it(
    acme: Project, acme_server: AppServer, dana: AppUser, time_machine: Any
) -> None:
    small, large = plan_with(acme, {"searches": 10}), plan_with(acme, {"searches": 100}, rank=2)
    plan_with(acme, {"searches": 3}, free=True, rank=-1)
    now = dt.datetime(2026, 11, 11, 12, tzinfo=dt.UTC)
    time_machine.move_to(now, tick=False)
    report(acme_server, dana.user_id, event("searches", "1"))
    # A purchase begins a period of its own; what was free stays behind.
    time_machine.move_to(now + dt.timedelta(hours=1), tick=False)
    hold(dana.end_user, small, since=now + dt.timedelta(minutes=59))
    report(acme_server, dana.user_id, event("searches", "5"))
    told = summary(acme_server, dana.user_id)
    assert (told["plan"], told["billable"], told["meters"][0]["used"]) == (small.code, True, "5")
    # An upgrade goes on in it.
    hold(dana.end_user, large, since=now + dt.timedelta(minutes=59))
    told = summary(acme_server, dana.user_id)
    assert (told["plan"], told["meters"][0]["used"], told["meters"][0]["included"]) == (large.code, "5", "100")
    # The end of the subscription ends it, and the free plan begins with nothing used.
    time_machine.move_to(now + dt.timedelta(days=3), tick=False)
    hold(dana.end_user, None, active=False)
    told = summary(acme_server, dana.user_id)
    assert (told["billable"], told["meters"][0]["used"], told["meters"][0]["included"]) == (False, "0", "3")
    report(acme_server, dana.user_id, event("searches", "2"))
    rows = list(UsagePeriod.objects.for_project(acme).order_by("starts_at"))
    assert [(row.subscription_id, row.ends_at) for row in rows] == [
        ("", now + dt.timedelta(minutes=59)),
        ("sub_usage", now + dt.timedelta(days=3)),
        ("", dt.datetime(2026, 12, 1, tzinfo=dt.UTC)),
    ]
    assert [row.totals.get().used for row in rows] == [1, 5, 2]
    assert rows[1].plan == large


def test_a_year_is_counted_by_the_month(acme: Project, dana: AppUser, time_machine: Any) -> None:
    plan = create_plan(acme)
    begin = dt.datetime(2026, 1, 31, 10, tzinfo=dt.UTC)
    expected = ((2, 1, 1, 31, 2, 28), (3, 1, 2, 28, 3, 31), (12, 31, 12, 31, 1, 31))
    for month, day, *edges in expected:
        time_machine.move_to(dt.datetime(2026, month, day, 12, tzinfo=dt.UTC))
        hold(dana.end_user, plan, since=begin, until=dt.datetime(2027, 1, 31, 10, tzinfo=dt.UTC))
        span = read_usage(project_id=acme.pk, mode="test", end_user_id=dana.end_user.pk).span
        assert [span.start.month, span.start.day, span.end.month, span.end.day] == edges


def test_the_same_batch_from_eight_connections_counts_once(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    batch = [event(meter, "1.5", f"key-{number}") for number in range(30) for meter in ("searches",)]
    batch += [event("api_calls", "2", f"other-{number}") for number in range(30)]
    answers = at_once(
        8, lambda number: report(acme_server, dana.user_id, *(batch if number % 2 else list(reversed(batch))))
    )
    assert sum(answer["accepted"] for answer in answers) == 60
    assert sum(answer["duplicates"] for answer in answers) == 60 * 7
    assert used(acme_server, dana.user_id) == {"searches": "45", "api_calls": "60"}
    assert rows_of(acme)[:3] == (60, 2, 1)
    assert differences(acme) == []


def test_first_reports_of_a_new_period_at_once_do_not_stop_each_other(acme: Project) -> None:
    now = clock.now()
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(12):
        whose: dict[str, Any] = {"project_id": acme.pk, "mode": "test", "end_user_id": create_end_user(acme).pk}
        UsagePeriod.objects.create(**whose, starts_at=month - dt.timedelta(days=20), ends_at=month)
        counted = at_once(8, partial(report_one, whose, now))
        assert [one.accepted for outcomes in counted for one in outcomes] == [True] * 8
        assert UsagePeriod.objects.of_user(**whose).filter(starts_at=month).get().totals.get().used == 8


def report_one(whose: dict[str, Any], now: dt.datetime, number: int) -> Any:
    return report_usage(**whose, reports=[UsageReport("searches", Decimal(1), uuid.uuid4().hex, happened_at=now)])


def close_when_free(project: Project, moment: dt.datetime) -> None:
    """Close as soon as nobody counts in a period: a round leaves those out that are held."""
    while UsagePeriod.objects.for_project(project).filter(ends_at__lt=clock.now(), closed_at=None).exists():
        close_ended_periods(moment=moment)


def test_a_batch_and_the_close_of_its_period_at_once_lose_nothing(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    plan = plan_with(acme, {"searches": {"included": 0, "block_at_percent": "never"}})
    now = clock.now()
    hold(dana.end_user, plan, since=now - dt.timedelta(days=20), until=now - dt.timedelta(minutes=1))
    before = (now - dt.timedelta(minutes=2)).isoformat()
    UsagePeriod.objects.create(
        project=acme, mode="test", end_user=dana.end_user, plan=plan, subscription_id="sub_usage",
        starts_at=now - dt.timedelta(days=20), ends_at=now - dt.timedelta(minutes=1),
    )  # fmt: skip

    def act(number: int) -> Any:
        if number == 3:
            return close_when_free(acme, now + dt.timedelta(hours=1))
        return report(acme_server, dana.user_id, *[event(timestamp=before) for _ in range(5)])

    at_once(7, act)
    closed, *running = UsagePeriod.objects.for_project(acme).order_by("starts_at")
    assert closed.closed_at is not None
    charged = sum(charge.overage for charge in closed.charges.all())
    counted = sum(total.used for total in closed.totals.all())
    assert charged == counted
    assert counted + sum(total.used for row in running for total in row.totals.all()) == 30
    assert differences(acme) == []


def test_a_period_in_which_somebody_counts_is_not_closed_before_they_are_done(acme: Project, dana: AppUser) -> None:
    now = clock.now()
    whose = {"project": acme, "mode": "test", "end_user": dana.end_user}
    period = UsagePeriod.objects.create(
        **whose, starts_at=now - dt.timedelta(days=3), ends_at=now - dt.timedelta(hours=1)
    )
    with transaction.atomic():
        held_periods(project_id=acme.pk, mode="test", end_user_id=dana.end_user.pk, since=now - dt.timedelta(days=5))
        at_once(1, lambda number: close_ended_periods())
        period.refresh_from_db()
        assert period.closed_at is None
    close_ended_periods()
    period.refresh_from_db()
    assert period.closed_at is not None


QUANTITIES = st.decimals(min_value="0.000001", max_value=1000, places=6)
EVENTS = st.tuples(st.sampled_from(["searches", "tokens"]), QUANTITIES, st.integers(0, 12), st.integers(0, 34))


@given(batches=st.lists(st.lists(EVENTS, min_size=1, max_size=6), min_size=1, max_size=5))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_totals_are_the_sums_of_events_whatever_is_sent(acme: Project, batches: list[list[Any]]) -> None:
    end_user = create_end_user(acme)
    moment = clock.now()
    expected: dict[str, tuple[str, Decimal]] = {}
    prefix = uuid.uuid4().hex
    for batch in batches:
        reports = [
            UsageReport(meter, quantity, f"{prefix}-{key}", moment - dt.timedelta(days=days))
            for meter, quantity, key, days in batch
        ]
        report_usage(project_id=acme.pk, mode="test", end_user_id=end_user.pk, reports=reports)
        for one in reports:
            expected.setdefault(one.key, (one.meter, one.quantity))
    sums: dict[str, Decimal] = {}
    for meter, quantity in expected.values():
        sums[meter] = sums.get(meter, Decimal(0)) + quantity
    rows = UsageTotal.objects.for_project(acme).filter(period__end_user=end_user).select_related("meter")
    assert {row.meter.code: row.used for row in rows} == sums
    assert differences(acme) == []
