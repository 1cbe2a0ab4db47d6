"""The demo project of `make run`."""


def seed_demo() -> None:
    """Nothing yet."""
