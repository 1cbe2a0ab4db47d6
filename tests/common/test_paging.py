"""Lists: pages and cursors show every row once, newest first, and refuse what no list ever gave."""

import datetime as dt
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import FieldError
from common.paging import decode_cursor, encode_cursor, paginate, read_page_request
from projects.models import EndUser, Project


def make_project_with_users(seconds: list[int]) -> Project:
    project = Project.objects.create(name="Paging", slug=f"paging-{uuid.uuid4().hex[:12]}")
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    EndUser.objects.bulk_create(
        EndUser(project=project, external_id=str(index), created_at=start + dt.timedelta(seconds=second))
        for index, second in enumerate(seconds)
    )
    return project


def ids(rows: list[EndUser]) -> list[uuid.UUID]:
    return [row.pk for row in rows]


@pytest.mark.parametrize(
    ("query", "expected"), [({}, (1, 50)), ({"page": "3", "page_size": "100"}, (3, 100)), ({"page_size": "1"}, (1, 1))]
)
def test_page_parameters_have_the_contracts_defaults_and_limits(
    query: dict[str, str], expected: tuple[int, int]
) -> None:
    request = read_page_request(query)
    assert (request.page, request.page_size) == expected


@pytest.mark.parametrize("name", ["page", "page_size"])
@pytest.mark.parametrize("value", ["0", "-1", "101000000", "1.5", "abc", "", "²", "١", "1e3", "9" * 40, "\x00"])
def test_a_bad_page_parameter_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(FieldError) as caught:
        read_page_request({name: value})
    assert caught.value.status_code == 422
    assert caught.value.body()["detail"][0]["loc"] == ["query", name]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.lists(st.integers(0, 3), max_size=17), page_size=st.integers(1, 5))
def test_cursor_and_pages_walk_the_same_rows_once_each(seconds: list[int], page_size: int) -> None:
    project = make_project_with_users(seconds)
    rows = EndUser.objects.for_project(project)
    expected = ids(list(rows.order_by("-created_at", "-pk")))
    by_cursor: list[uuid.UUID] = []
    cursor: str | None = ""
    for _ in range(len(seconds) + 1):
        page = paginate(rows, {"cursor": cursor or "", "page_size": str(page_size)}, key="users", render=ids)
        assert "total" not in page and "page" not in page
        by_cursor += page["users"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert by_cursor == expected
    by_page: list[uuid.UUID] = []
    for number in range(1, len(seconds) // page_size + 2):
        page = paginate(rows, {"page": str(number), "page_size": str(page_size)}, key="users", render=ids)
        assert page["total"] == len(seconds)
        by_page += page["users"]
    assert by_page == expected


def test_a_row_that_arrives_between_two_cursor_pages_moves_nothing() -> None:
    project = make_project_with_users([1, 2, 3, 4])
    rows = EndUser.objects.for_project(project)
    expected = ids(list(rows.order_by("-created_at", "-pk")))
    first = paginate(rows, {"cursor": "", "page_size": "2"}, key="users", render=ids)
    EndUser.objects.create(project=project, external_id="late", created_at=dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
    second = paginate(rows, {"cursor": first["next_cursor"], "page_size": "2"}, key="users", render=ids)
    assert first["users"] + second["users"] == expected


@pytest.mark.no_db
@given(text=st.text(max_size=80))
def test_a_made_up_cursor_is_refused_and_never_crashes(text: str) -> None:
    if not text:
        return
    with pytest.raises(FieldError) as caught:
        decode_cursor(text)
    assert caught.value.body()["detail"][0]["loc"] == ["query", "cursor"]


@pytest.mark.no_db
@given(at=st.datetimes(min_value=dt.datetime(1971, 1, 1), max_value=dt.datetime(9000, 1, 1)), pk=st.uuids())
def test_a_cursor_reads_back_as_the_position_that_it_names(at: dt.datetime, pk: uuid.UUID) -> None:
    instant = at.replace(tzinfo=dt.UTC)
    assert decode_cursor(encode_cursor(instant, pk)) == (instant, pk)


@pytest.mark.no_db
def test_a_cursor_of_an_odd_year_is_refused() -> None:
    odd = encode_cursor(dt.datetime(32, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=23, minutes=59))), uuid.uuid4())
    with pytest.raises(FieldError):
        decode_cursor(odd)
