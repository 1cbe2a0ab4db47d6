"""The product's settings on the test run's own servers and keys."""

import os

if "PYTEST_VERSION" in os.environ:
    from tests.servers import environment

    os.environ.update(environment())
else:
    # mypy's Django plugin and `makemigrations --check` import the settings without needing a server.
    from tests.servers import offline_environment

    os.environ.update(offline_environment())

from config.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# Static files are looked up when one is asked for: scanning them all costs every new test client 50 ms.
WHITENOISE_AUTOREFRESH = True
# Tests write the journal of token budgets when they say so; the parts of a live service do it by themselves.
TOKEN_JOURNAL_THREAD = False
# A new connection plans its first statements ten times as long: those of threads that come and go are kept for the next.
# Fifty that start at once wait for theirs on a busy machine.
if "PYTEST_VERSION" in os.environ:
    DATABASES["default"]["OPTIONS"] |= {"pool": {"min_size": 1, "max_size": 64, "timeout": 60}}  # noqa: F405
