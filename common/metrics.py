"""What the processes of this service count and time, for Prometheus (docs/operations.md lists every name).

Invariants: a label's values are few and come from this code (a route, a mode, a kind), never from a caller; no series holds an id,
an address or a key. With PROMETHEUS_MULTIPROC_DIR set every process of a machine writes there and any of them tells of all.
What the database knows better than a process (depths, ages) is read when asked: config/state_metrics.py.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SLOW = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
OTHER = "other"

HTTP_SECONDS = Histogram(
    "payments_http_request_seconds", "Requests, by route and status.", ["method", "route", "status"], buckets=FAST
)
DELIVERIES = Counter("payments_webhook_deliveries_total", "Deliveries of Stripe, by what was answered.", ["outcome"])
EVENTS_FINISHED = Counter(
    "payments_webhook_events_finished_total", "Events of Stripe that are done, by how they ended.", ["mode", "status"]
)
EVENT_LAG_SECONDS = Histogram(
    "payments_webhook_lag_seconds",
    "From storing an event of Stripe to the commit of its effects.",
    ["mode"],
    buckets=SLOW,
)
EVENT_FAILURES = Counter(
    "payments_webhook_event_failures_total", "Attempts at an event of Stripe that failed, by mode.", ["mode"]
)
STRIPE_SECONDS = Histogram(
    "payments_stripe_call_seconds",
    "Calls to Stripe, waiting for a turn included, by object and outcome.",
    ["method", "object", "mode", "outcome"],
    buckets=FAST,
)
CHECKOUTS_OPENED = Counter("payments_checkouts_opened_total", "Checkouts opened at Stripe.", ["kind", "mode"])
EFFECT_SECONDS = Histogram(
    "payments_effect_seconds", "Effects that were carried out, by kind and outcome.", ["kind", "outcome"], buckets=FAST
)
APP_DELIVERIES = Histogram(
    "payments_app_delivery_seconds", "Deliveries to the endpoints of apps, by outcome.", ["outcome"], buckets=FAST
)
TASK_SECONDS = Histogram("payments_task_seconds", "Rounds of the worker, by task.", ["task", "outcome"], buckets=SLOW)
RATE_LIMITED = Counter("payments_rate_limited_total", "Calls that a rate limit refused, by limit.", ["limit"])


@contextmanager
def timed(histogram: Histogram, **labels: str) -> Iterator[dict[str, str]]:
    """Time a block. The block may change `outcome` among the labels; it is `failed` when an exception leaves it."""
    found = {"outcome": "ok", **labels}
    began = time.perf_counter()
    try:
        yield found
    except BaseException:
        if found["outcome"] == "ok":
            found["outcome"] = "failed"
        raise
    finally:
        histogram.labels(**found).observe(time.perf_counter() - began)


def process_registry(multiprocess_dir: str) -> CollectorRegistry:
    """Return what to read the processes' series from: this one's own, or those of all that share the directory."""
    if not multiprocess_dir:
        return REGISTRY
    # The library looks at the environment when it is imported, and a process without the directory needs none of this.
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=multiprocess_dir)
    return registry
