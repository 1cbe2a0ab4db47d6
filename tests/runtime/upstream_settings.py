"""The product's settings with dj-stripe's own migrations, for the comparison of both schemas."""

from config.settings import *  # noqa: F403

MIGRATION_MODULES = {}
