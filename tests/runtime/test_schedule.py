"""What beat starts: every round names a task that is there, and what must happen each hour or night does."""

import datetime as dt
from typing import Any

from config.celery import app

HOUR = 3600.0
# What makes good for what was lost, and what looks for mistakes. The sweeps run in every worker besides.
EACH_HOUR = ["payments.tasks.reconcile_events", "payments.tasks.empty_old_bodies"]
EACH_NIGHT = ["payments.tasks.reconcile_objects", "payments.tasks.check_invariants", "payments.tasks.check_rollups"]


def test_every_round_names_a_task_and_the_checks_run_each_hour_and_night() -> None:
    app.loader.import_default_modules()
    rounds = {entry["task"]: entry["schedule"] for entry in app.conf.beat_schedule.values()}
    assert len(rounds) == len(app.conf.beat_schedule), "a task is started by two rounds"
    assert [name for name in rounds if name not in app.tasks] == []
    assert [rounds[name] for name in EACH_HOUR] == [HOUR, HOUR]
    at = [time_of_day(rounds[name]) for name in EACH_NIGHT]
    # Wrong statistics are put before the staff by the check of the invariants, and mended only then.
    assert at == sorted(at)


def time_of_day(schedule: Any) -> dt.time:
    """Tell when a round begins that begins once a day, in UTC."""
    assert app.conf.enable_utc and str(app.timezone) == "UTC"
    assert len(schedule.day_of_week) == 7 and len(schedule.day_of_month) == 31 and len(schedule.month_of_year) == 12
    (hour,), (minute,) = schedule.hour, schedule.minute
    return dt.time(hour, minute)
