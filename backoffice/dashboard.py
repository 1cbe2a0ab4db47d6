"""The first page of the admin: how the projects fare, and what waits for somebody."""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from backoffice.services.figures import COUNT_MAX, AccountHealth, Day, Figures, read_figures
from backoffice.visible import PROJECTS_MAX, SeenProject, projects_of
from common.modes import LIVE, MODES, TEST
from common.money import decimals_of, money_text
from moderation.models import ReviewItem
from payments.services.go_live import GOOD_ENDPOINTS

RANGES = (7, 30, 90)
CURRENCIES_DRAWN = 3
ACCOUNTS_SHOWN = 12
# Shades that read on light and on dark.
GOOD, SOFT, BAD = "var(--color-primary-500)", "var(--color-primary-300)", "var(--color-red-500)"
TONES = {GOOD: "good", SOFT: "soft", BAD: "bad"}


def fill_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the figures to the first page (unfold's DASHBOARD_CALLBACK). Four queries."""
    seen = projects_of(request)
    mode = _mode(request, seen)
    days = next((one for one in RANGES if str(one) == request.GET.get("days")), 30)
    chosen = next((one for one in seen if str(one.id) == request.GET.get("project")), None)
    names = {one.id: one.name for one in seen}
    asked = [chosen.id] if chosen else list(names)
    figures = read_figures(project_ids=asked, mode=mode, days=days)
    kept = {"mode": mode, "days": str(days)} | ({"project": str(chosen.id)} if chosen else {})
    context |= {
        "title": "Dashboard",
        "mode": mode,
        "modes": [(one, _link(kept | {"mode": one}), one == mode) for one in (LIVE, TEST)],
        "ranges": [(one, _link(kept | {"days": str(one)}), one == days) for one in RANGES],
        "days": days,
        "seen_projects": seen,
        "projects_cut": len(seen) >= PROJECTS_MAX,
        "chosen": chosen,
        "cards": _cards(figures, mode, days),
        "charts": _charts(figures),
        "not_drawn": _not_drawn(figures),
        "accounts": [_account(one, names, mode) for one in figures.health[:ACCOUNTS_SHOWN]],
        "more_accounts": max(0, len(figures.health) - ACCOUNTS_SHOWN),
        "reviews": _reviews(figures, mode),
    }
    return context


def _mode(request: HttpRequest, seen: Iterable[SeenProject]) -> str:
    asked = request.GET.get("mode", "")
    if asked in MODES:
        return asked
    return LIVE if any(one.sells_live for one in seen) else TEST


def _link(query: dict[str, str]) -> str:
    return f"?{urlencode(query)}"


def _list(name: str, **query: Any) -> str:
    return f"{reverse(f'admin:{name}_changelist')}?{urlencode(query)}"


def _some(number: int) -> str:
    return f"{COUNT_MAX:,} or more" if number >= COUNT_MAX else f"{number:,}"


def _cards(figures: Figures, mode: str, days: int) -> list[dict[str, Any]]:
    """Write the figures that are one number each, with the list behind it."""
    count = figures.subscriptions
    subscriptions = {one: _list("payments_subscription", mode__exact=mode, status=one) for one in count}
    monthly = [money_text(cents, currency) for currency, cents in figures.monthly_cents.items()]
    failed = sum(day.failed for of in figures.revenue.values() for day in of.values())
    paid = sum(day.succeeded for of in figures.revenue.values() for day in of.values())
    waiting = sum(figures.reviews.values())
    unpriced = (
        f"{figures.unpriced:,} on a price without a plan are left out" if figures.unpriced else "before discounts"
    )
    return [
        {"title": "Monthly recurring revenue", "lines": monthly or ["0"], "note": unpriced},
        {"title": "Active", "lines": [f"{count.get('active', 0):,}"], "link": subscriptions.get("active")},
        {"title": "Trialing", "lines": [f"{count.get('trialing', 0):,}"], "link": subscriptions.get("trialing")},
        {
            "title": "Past due",
            "lines": [f"{count.get('past_due', 0):,}"],
            "link": subscriptions.get("past_due"),
            "bad": bool(count.get("past_due")),
        },
        {"title": f"Churned in {days} days", "lines": [f"{sum(figures.ended.values()):,}"],
         "link": _list("payments_subscription", mode__exact=mode, status="canceled")},
        {"title": f"Failed payments in {days} days", "lines": [f"{failed:,}"], "note": f"{paid:,} succeeded",
         "link": _list("payments_transaction", mode__exact=mode, status__exact="failed"), "bad": failed > 0},
        {"title": "Waits for review", "lines": [_some(waiting)], "bad": waiting > 0,
         "link": _list("moderation_reviewitem", mode__exact=mode, status__exact="pending")},
        {"title": "Stuck licences", "lines": [_some(figures.stuck_licenses)], "bad": figures.stuck_licenses > 0,
         "link": _list("licenses_license", mode__exact=mode, stuck="yes")},
        {"title": "Open incidents", "lines": [_some(figures.incidents)], "bad": figures.incidents > 0,
         "link": reverse("admin:notifications_alertincident_changelist")},
    ]  # fmt: skip


def _charts(figures: Figures) -> list[dict[str, Any]]:
    """Describe each chart once for the canvas and once as a table, which is what a screen reader is given."""
    labels = [f"{day:%d %b}" for day in figures.days]
    charts = []
    for currency in _currencies(figures)[:CURRENCIES_DRAWN]:
        days = [figures.revenue[currency].get(day, Day(day)) for day in figures.days]
        scale = 10 ** decimals_of(currency)
        net, back = _sums(figures, currency)
        charts.append(
            _chart(
                f"Revenue in {currency.upper()}",
                f"{money_text(net, currency)} net of {money_text(back, currency)} refunded",
                labels,
                [
                    ("Net", GOOD, [day.net_cents / scale for day in days], [money_text(day.net_cents, currency) for day in days]),
                    ("Refunded", BAD, [day.refunded_cents / scale for day in days],
                     [money_text(day.refunded_cents, currency) for day in days]),
                ],
            )
        )  # fmt: skip
    succeeded = [sum(of[day].succeeded for of in figures.revenue.values() if day in of) for day in figures.days]
    failed = [sum(of[day].failed for of in figures.revenue.values() if day in of) for day in figures.days]
    ended = [figures.ended.get(day, 0) for day in figures.days]
    given = [figures.credits[day].given if day in figures.credits else 0 for day in figures.days]
    used = [figures.credits[day].used if day in figures.credits else 0 for day in figures.days]
    charts += [
        _chart("Payments", f"{sum(succeeded):,} succeeded, {sum(failed):,} failed", labels,
               [("Succeeded", GOOD, succeeded, succeeded), ("Failed", BAD, failed, failed)]),
        _chart("Subscriptions that ended", f"{sum(ended):,} in these days", labels, [("Ended", BAD, ended, ended)]),
        _chart("Credits", f"{sum(used):,} used, {sum(given):,} given", labels,
               [("Given", SOFT, given, given), ("Used", GOOD, used, used)]),
    ]  # fmt: skip
    return charts


def _currencies(figures: Figures) -> list[str]:
    """Name the currencies, that of most payments first: amounts of two cannot be compared."""
    paid = {currency: sum(day.succeeded for day in of.values()) for currency, of in figures.revenue.items()}
    return sorted(paid, key=lambda currency: (-paid[currency], currency))


def _not_drawn(figures: Figures) -> list[tuple[str, str, str]]:
    """Write the sums of the currencies that have no chart: (currency, net, refunded)."""
    rest = [(currency, *_sums(figures, currency)) for currency in _currencies(figures)[CURRENCIES_DRAWN:]]
    return [(currency.upper(), money_text(net, currency), money_text(back, currency)) for currency, net, back in rest]


def _sums(figures: Figures, currency: str) -> tuple[int, int]:
    """Add up what was earned in a currency and what went back. Units: its minor units."""
    days = figures.revenue[currency].values()
    return sum(day.net_cents for day in days), sum(day.refunded_cents for day in days)


def _chart(
    title: str, summary: str, labels: list[str], series: list[tuple[str, str, list[Any], list[Any]]]
) -> dict[str, Any]:
    drawn = {
        "labels": labels,
        "datasets": [
            {
                "label": name,
                "data": values,
                "backgroundColor": color,
                "borderColor": color,
                "displayYAxis": True,
                "maxTicksXLimit": 8,
                # The lowest is drawn on top: what is usually less stays visible before what is more.
                "order": len(series) - at,
            }
            for at, (name, color, values, _) in enumerate(series)
        ],
    }
    shown = [
        (label, [texts[at] for _, _, _, texts in series])
        for at, label in enumerate(labels)
        if any(values[at] for _, _, values, _ in series)
    ]
    legend = [(name, TONES[color]) for name, color, _, _ in series]
    return {
        "title": title,
        "summary": summary,
        "value": json.dumps(drawn),
        "legend": legend,
        "columns": [name for name, _, _, _ in series],
        "rows": shown,
    }


def _account(health: AccountHealth, names: dict[Any, str], mode: str) -> dict[str, Any]:
    return {
        "project": names[health.project_id],
        "link": reverse("backoffice:project", args=[health.project_id]) + f"?mode={mode}",
        "status": health.status or "no endpoint",
        "works": health.status in GOOD_ENDPOINTS and not health.error,
        "error": health.error,
        "last_event_at": health.last_event_at,
        "oldest_pending_at": health.oldest_pending_at,
        "dead_events": _some(health.dead_events) if health.dead_events else "",
    }


def _reviews(figures: Figures, mode: str) -> list[tuple[str, str, str]]:
    labels = dict(ReviewItem.Kind.choices)
    return [
        (str(labels.get(kind, kind)), _some(number),
         _list("moderation_reviewitem", mode__exact=mode, status__exact="pending", kind__exact=kind))
        for kind, number in figures.reviews.items()
    ]  # fmt: skip
