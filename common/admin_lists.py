"""Lists of the admin that cost the same whatever their table holds.

Invariants: nothing counts a table without a limit; a page is read from the end of an index; a search on a large table asks indexes.
What an index cannot answer (a word within a text, a sort by any column, a drill-down by date) is offered while a table is small.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from django.contrib.admin import ShowFacets
from django.contrib.admin.filters import AllValuesFieldListFilter
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ORDER_VAR
from django.core.exceptions import BadRequest, ValidationError
from django.core.paginator import Page, Paginator
from django.db import DataError, connection, models
from django.db.models import F, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from common.modes import MODES

# From here on a table is large: what reads all of it takes longer than somebody likes to wait.
LARGE_ROWS = 50_000
COUNT_MAX = 1000
# Whoever pages further than this looks for something: a search or a filter finds it.
PAGES_MAX = 100
VALUES_LOOKED_AT = 2000
# How many related rows (users whose address begins so) a search on a large table follows.
RELATED_MAX = 200
KNOWN_SECONDS = 60.0

_sizes: dict[str, tuple[float, float]] = {}


def is_large(model: type[models.Model]) -> bool:
    """Say whether a table is large, by what the database estimates; asked at most once a minute for each table."""
    table = model._meta.db_table
    now = time.monotonic()
    if table not in _sizes or now - _sizes[table][0] > KNOWN_SECONDS:
        with connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(max(reltuples), 0) FROM pg_class WHERE oid = to_regclass(%s)", [table])
            _sizes[table] = (now, float(cursor.fetchone()[0]))
    return _sizes[table][1] >= LARGE_ROWS


class BoundedPaginator(Paginator):
    """Counts up to a bound. Beyond it says so, and offers so many pages."""

    template_name = "admin/bounded_pagination.html"

    @cached_property
    def count(self) -> int:
        """The number of rows, or one more than COUNT_MAX."""
        rows: Any = self.object_list
        return int(rows.order_by()[: COUNT_MAX + 1].count())

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than were counted."""
        return self.count > COUNT_MAX

    @property
    def counted(self) -> int:
        """How many rows there are at least."""
        return min(self.count, COUNT_MAX)

    @cached_property
    def num_pages(self) -> int:
        """The number of pages that can be asked for."""
        return PAGES_MAX if self.is_cut else int(super().num_pages)

    def page(self, number: int | str) -> Page[Any]:
        """Return a page. Beyond what was counted it is as long as there are rows."""
        if not self.is_cut:
            return super().page(number)
        wanted = self.validate_number(number)
        first = (wanted - 1) * self.per_page
        rows: Any = self.object_list
        return Page(rows[first : first + self.per_page], wanted, self)


class BoundedChangeList(ChangeList):
    """A list that leaves out, on a large table, what would read all of it."""

    params: dict[str, Any]

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(request, *args, **kwargs)
        except (DataError, OverflowError) as error:
            # What no column can hold, as a year of eleven digits, is a filter that finds nothing sensible.
            raise IncorrectLookupParameters(error) from error
        if is_large(self.model):
            # It groups every row by its date.
            self.date_hierarchy = None

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Sort a large table by what an index has in order, whatever the address asks for."""
        if ORDER_VAR in self.params and is_large(self.model):
            offered = self.model_admin.get_sortable_by(request)
            wanted = [part for part in str(self.params[ORDER_VAR]).split(".") if self._is_offered(part, offered)]
            self.params = {**self.params, ORDER_VAR: ".".join(wanted)}
        return list(super().get_ordering(request, queryset))

    def _is_offered(self, part: str, offered: Sequence[str]) -> bool:
        index = part.removeprefix("-")
        known = index.isascii() and index.isdigit() and int(index) < len(self.list_display)
        return known and self.list_display[int(index)] in offered


class FewValuesFilter(AllValuesFieldListFilter):
    """The values that a column is known to take, or those among some of its rows: never all rows are looked at."""

    def __init__(
        self, field: Any, request: HttpRequest, params: Any, model: Any, model_admin: Any, field_path: str
    ) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        known = getattr(model_admin, "filter_values", {}).get(field_path)
        if known is None:
            rows = model_admin.get_queryset(request).order_by("-pk").values_list(field_path, flat=True)
            known = sorted({value for value in rows[:VALUES_LOOKED_AT] if value})
        chosen = [value for value in (self.lookup_val or []) if value not in known]
        self.lookup_choices = [*known, *chosen]  # type: ignore[assignment]


class SafeLookupsMixin:
    """Filters by address only on what the page offers: `?key_hash__startswith=a` would tell a secret letter by letter."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allow lookups on listed filters and the date hierarchy."""
        offered = [entry[0] if isinstance(entry, list | tuple) else entry for entry in self.get_list_filter(request)]  # type: ignore[attr-defined]
        offered = [getattr(entry, "parameter_name", entry) for entry in offered]
        names = [name for name in [*offered, getattr(self, "date_hierarchy", None)] if isinstance(name, str)]
        allowed: bool = super().lookup_allowed(lookup, value, request)  # type: ignore[misc]
        return allowed and any(lookup == name or lookup.startswith(f"{name}__") for name in names)


class BoundedListMixin(ModelAdmin):
    """Inherit before ModelAdmin. `filter_values` names the values of a column that is filtered by and has no choices."""

    paginator: Any = BoundedPaginator
    show_full_result_count = False
    # Counts beside each choice of a filter read the whole table for each.
    show_facets = ShowFacets.NEVER
    filter_values: dict[str, Sequence[str]] = {}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that is bounded."""
        return BoundedChangeList

    def get_ordering(self, request: HttpRequest) -> Any:
        """Show the newest first, also where ids say nothing about time: rows that follow Stripe's objects."""
        ordering: Sequence[Any] = super().get_ordering(request)
        options = self.model._meta
        if ordering or options.ordering or options.pk.has_default() or not isinstance(options.pk, models.UUIDField):
            return ordering
        has_time = any(field.name == "created_at" for field in options.fields)
        return ["-created_at", f"-{options.pk.name}"] if has_time else ordering

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """Offer every column of a small table, and those of a large one that an index has in order."""
        columns: Sequence[str] = super().get_sortable_by(request)
        model = self.model
        return [name for name in columns if _first_of_an_index(model, name)] if is_large(model) else columns

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Give columns of free text a filter that does not ask the whole table which texts there are."""
        listed: Sequence[Any] = super().get_list_filter(request)
        return [self._bounded(entry) for entry in listed]

    def response_action(self, request: HttpRequest, queryset: Any, *where: Any, **named: Any) -> Any:
        """Refuse ids of rows that cannot be any. Raises: BadRequest (400)."""
        for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME):
            _refuse_odd_id(self.model, chosen)
        return super().response_action(request, queryset, *where, **named)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Find nothing by an id that no column can hold."""
        return None if "\x00" in object_id else super().get_object(request, object_id, from_field)

    def changeform_view(self, request: HttpRequest, *where: Any, **named: Any) -> Any:
        """Refuse ids of related rows that cannot be any: a field with a search reads them to be shown. Raises: BadRequest (400)."""
        for name in self.get_autocomplete_fields(request):
            related: Any = self.model._meta.get_field(name).related_model
            for chosen in (*request.GET.getlist(name), *request.POST.getlist(name)):
                if chosen:
                    _refuse_odd_id(related, chosen)
        return super().changeform_view(request, *where, **named)

    def _bounded(self, entry: Any) -> Any:
        if not isinstance(entry, str) or "__" in entry:
            return entry
        field = self.model._meta.get_field(entry)
        return (entry, FewValuesFilter) if isinstance(field, models.CharField) and not field.choices else entry

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search a small table for words in texts, a large one for whole ids and the beginnings of names and addresses."""
        model = self.model
        # No text that is stored holds it, and the database refuses to be asked for it.
        search_term = search_term.replace("\x00", "")
        term = search_term.strip()
        if not term or not is_large(model):
            found: tuple[QuerySet[Any], bool] = super().get_search_results(request, queryset, search_term)
            return found
        fields = [str(name).lstrip("^=@") for name in self.get_search_fields(request)]
        asked = [rows for name in fields if (rows := rows_with(model, name.split("__"), term)) is not None]
        if not asked:
            return queryset.none(), False
        first, *others = (rows.values("pk") for rows in asked)
        return queryset.filter(pk__in=first.union(*others) if others else first), False


def _refuse_odd_id(model: type[models.Model], text: str) -> None:
    """Refuse what cannot be the id of a row. Raises: BadRequest (400)."""
    try:
        model._meta.pk.to_python(text)
    except ValidationError as error:
        raise BadRequest("No row has such an id.") from error
    if "\x00" in text:
        raise BadRequest("No row has such an id.")


def rows_with(model: type[models.Model], path: Sequence[str], term: str) -> QuerySet[Any] | None:
    """Return rows whose column (or whose related row's) is the term, or begins with it; None when no index can say."""
    field = model._meta.get_field(path[0])
    rows: QuerySet[Any] = model._base_manager.all()
    if len(path) > 1:
        related: Any = field.related_model
        inner = rows_with(related, path[1:], term) if isinstance(field, models.ForeignKey) else None
        if inner is None or related._meta.model_name == "project":
            # All rows of a project are no answer to a search.
            return None
        return rows.filter(**{f"{path[0]}__in": inner.values("pk")[:RELATED_MAX]})
    return _own_rows_with(model, rows, field, term)


def _own_rows_with(model: Any, rows: QuerySet[Any], field: Any, term: str) -> QuerySet[Any] | None:
    if isinstance(field, models.UUIDField):
        try:
            return rows.filter(**{field.name: uuid.UUID(term)}) if field.primary_key else None
        except ValueError:
            return None
    if _has_index(model, lambda index: _begins_with(index, field.name)):
        return rows.filter(**{f"{field.name}__istartswith": term})
    if field.unique or field.db_index or _first_of_an_index(model, field.name):
        return rows.filter(**{field.name: term})
    if _has_index(model, lambda index: _columns(index)[:3] == ["project", "mode", field.name]):
        # One look into the index for each project and mode: it begins with these.
        projects = model._meta.get_field("project").related_model._base_manager.values("pk")
        return rows.filter(project__in=projects, mode__in=MODES, **{field.name: term})
    if _has_index(model, lambda index: _columns(index)[:2] == ["project", field.name]):
        projects = model._meta.get_field("project").related_model._base_manager.values("pk")
        return rows.filter(project__in=projects, **{field.name: term})
    return None


def _has_index(model: Any, fits: Callable[[Any], bool]) -> bool:
    indexes = [index for index in model._meta.indexes if index.condition is None]
    unique = [one for one in model._meta.constraints if isinstance(one, models.UniqueConstraint)]
    return any(fits(index) for index in [*indexes, *(one for one in unique if one.condition is None)])


def _columns(index: Any) -> list[str]:
    return [name.removeprefix("-") for name in index.fields]


def _first_of_an_index(model: Any, name: str) -> bool:
    return _has_index(model, lambda index: _columns(index)[:1] == [name])


def _begins_with(index: Any, name: str) -> bool:
    """Say whether an index is on the upper case of a column: what `istartswith` asks for."""
    expressions = getattr(index, "expressions", ())
    inner = expressions[0] if expressions else None
    while inner is not None and not isinstance(inner, F):
        sources = inner.get_source_expressions() if hasattr(inner, "get_source_expressions") else []
        inner = sources[0] if sources else None
    return isinstance(inner, F) and str(inner.name) == name  # type: ignore[attr-defined]
