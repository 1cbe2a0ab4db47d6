"""Celery tasks of the entitlements: they carry no data, and each may run twice at once or be left out."""

from celery import shared_task

from entitlements.services.provisioning_sweep import sweep_all


@shared_task(name="entitlements.tasks.sweep_provisioning", acks_late=False, ignore_result=True)
def sweep_provisioning() -> None:
    """Compare what users are to have at LiteLLM with what they have."""
    sweep_all()
