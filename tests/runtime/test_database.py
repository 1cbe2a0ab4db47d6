"""The harness itself: real commits on a database of one's own."""

import os

import pytest
from django.conf import settings
from django.db import connection


def test_each_process_has_a_database_of_its_own() -> None:
    assert connection.settings_dict["NAME"] == settings.DATABASES["default"]["NAME"]
    assert str(os.getpid()) in connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == (connection.settings_dict["NAME"],)


def test_code_under_test_is_in_no_transaction() -> None:
    assert not connection.in_atomic_block
    assert connection.get_autocommit()


@pytest.mark.no_db
def test_a_test_without_the_database_cannot_reach_it() -> None:
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        connection.ensure_connection()
