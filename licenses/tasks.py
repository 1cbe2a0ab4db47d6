"""Celery tasks of the licences: they carry no data, and each may run twice at once or be left out."""

from celery import shared_task

from licenses.services import github_connection, polling
from licenses.services.metrics import put_stuck_before_staff
from licenses.services.removals import sweep_unwanted_seats


@shared_task(name="licenses.tasks.poll_invitations", acks_late=False, ignore_result=True)
def poll_invitations() -> None:
    """Ask GitHub which invitations were accepted."""
    polling.poll_invitations()


@shared_task(name="licenses.tasks.look_after_licenses", acks_late=False, ignore_result=True)
def look_after_licenses() -> None:
    """Ask for removals that got lost, and put licences that wait too long before staff."""
    sweep_unwanted_seats()
    put_stuck_before_staff()


@shared_task(name="licenses.tasks.examine_connections", acks_late=False, ignore_result=True)
def examine_connections() -> None:
    """Ask GitHub whether the connections in use are still as licences need them."""
    github_connection.examine_connections()
