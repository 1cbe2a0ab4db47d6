"""Exports: exactly what their maker may see, no cell a formula, large ones piece by piece, fetched by their maker alone."""

import csv
import datetime as dt
import html
import io
import re
import uuid
import zipfile
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from backoffice.models import Export, ExportPart
from backoffice.services.exports import listings, making
from backoffice.services.exports.formulas import guarded
from backoffice.services.exports.listings import LISTINGS, Wanted
from backoffice.services.exports.making import expire_exports, make_due_exports, make_export, request_export
from backoffice.services.exports.writing import write_csv, write_xlsx
from common.errors import ApiError
from entitlements.services import ledger
from licenses.models import License
from moderation.models import ActionLog, ReviewItem
from payments.models import WebhookEvent
from projects.models import EndUser, Membership, Project, Role
from tests.licenses.licensing import license_in_hand
from tests.payments.rows import create_end_user, create_payment, create_subscription
from tests.payments.shop import at_once

ADD = "admin:backoffice_export_add"
# Every beginning that some spreadsheet runs, and the same behind blanks.
EVIL = ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1", "\x00=1", "  =1+1", "＝1+1"]
# What a control character stands before, which is taken out.
EVIL += ["\x01=1+1", "\x7f@SUM(1)", " \x02+1"]


@pytest.fixture(autouse=True)
def few_projects(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many projects other tests have made."""
    monkeypatch.setattr(listings, "PROJECTS_AT_ONCE", 1_000_000)


def somebody(*, project: Project | None = None, role: str = "", group: str = "") -> tuple[Client, User]:
    user = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
    if project is not None:
        Membership.objects.create(project=project, user=user, role=role)
    if group:
        user.groups.add(Group.objects.get(name=group))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client, user


def ask(client: Client, **form: Any) -> Any:
    return client.post(reverse(ADD), {"what": "payments", "format": "csv", "mode": "", "project": ""} | form)


def file_of(client: Client, export: Export) -> bytes:
    answer: Any = client.get(reverse("admin:backoffice_export_file", args=[export.pk]))
    assert answer.status_code == 200, answer.status_code
    return b"".join(answer.streaming_content)


def table(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))


def cells(content: bytes) -> str:
    book = zipfile.ZipFile(io.BytesIO(content))
    return "".join(book.read(name).decode() for name in book.namelist() if name.endswith(".xml"))


# Works


def test_every_list_is_exported_as_far_as_its_maker_sees_it(acme: Project, other_project: Project) -> None:
    for project in (acme, other_project):
        buyer = create_end_user(project, email=f"of-{project.slug}@example.com")
        create_payment(project, end_user=buyer, subscription=create_subscription(project, end_user=buyer))
        create_payment(project, mode="live", amount_cents=777)
        license_in_hand(project)
        whose = {"project": project, "mode": "test"}
        WebhookEvent.objects.create(**whose, event_id=f"evt_{uuid.uuid4().hex}", type="invoice.paid")
        ReviewItem.objects.create(**whose, kind="dispute", cause_key=uuid.uuid4().hex, title="Disputed", end_user=buyer)
        ledger.grant_credits(
            project_id=project.pk, mode="test", end_user_id=buyer.pk, bucket="bonus", amount=5, key=f"t:{uuid.uuid4()}"
        )
    client, user = somebody(project=acme, role=Role.DEVELOPER)
    counts = {}
    for what, listing in LISTINGS.items():
        for form in ("csv", "xlsx"):
            assert ask(client, what=what, format=form, project=str(acme.pk)).status_code == 302
            export = Export.objects.filter(made_by=user).latest("created_at")
            content = file_of(client, export)
            assert (export.status, export.size_bytes) == ("done", len(content))
            text = content.decode("utf-8-sig") if form == "csv" else cells(content)
            assert other_project.slug not in text and all(heading in text for heading, _ in listing.columns)
        counts[what] = export.rows_written
    assert counts == {
        "payments": 2,
        "subscriptions": 1,
        "end_users": 1,
        "licences": 1,
        "credits": 1,
        "events": 1,
        "reviews": 1,
        "actions": 16,
    }
    payments = table(file_of(client, Export.objects.filter(made_by=user, what="payments", format="csv").get()))
    assert [row[6] for row in payments[1:]] == ["1000", "777"] and payments[1][0] == acme.slug
    ask(client, mode="live", project=str(acme.pk))
    assert len(table(file_of(client, Export.objects.filter(made_by=user).latest("created_at")))) == 2
    today = timezone.now().date()
    ask(client, until=str(today - dt.timedelta(days=1)), project=str(acme.pk))
    assert len(table(file_of(client, Export.objects.filter(made_by=user).latest("created_at")))) == 1
    line = ActionLog.objects.filter(actor=user, action="export.create").latest("at")
    assert (line.details["list"], line.project_id) == ("payments", acme.pk)


def follow_export(client: Client, listing: str) -> dict[str, str]:
    """Read where a list's "Export these" leads, and what its form holds."""
    page = client.get(listing).content.decode()
    (link,) = re.findall(r'href="([^"]*)"[^>]*>Export these', page)
    found = dict(parse_qsl(urlsplit(html.unescape(link)).query))
    shown = client.get(html.unescape(link)).content.decode()
    assert html.escape(found.get("filters", "")) in shown
    return found


def test_a_list_is_exported_as_it_is_filtered_and_searched(acme: Project, other_project: Project) -> None:
    dana, erin = create_end_user(acme, email="dana@example.com"), create_end_user(acme, email="erin@example.com")
    for project, payer in ((acme, dana), (acme, erin), (other_project, create_end_user(other_project))):
        create_payment(project, end_user=payer, status="failed", failure_code="card_declined")
        create_payment(project, end_user=payer, mode="live", status="failed")
        create_payment(project, end_user=payer)
    waits = license_in_hand(acme)
    License.objects.filter(pk=waits.pk).update(first_invited_at=timezone.now() - dt.timedelta(days=9))
    license_in_hand(acme)
    client, user = somebody(project=acme, role=Role.DEVELOPER)
    for listing, wanted, count in (
        (
            "admin:payments_transaction_changelist",
            {"status__exact": "failed", "mode__exact": "test", "o": "1", "p": "3"},
            2,
        ),
        ("admin:payments_transaction_changelist", {"q": dana.external_id}, 3),
        ("admin:payments_transaction_changelist", {"q": "nobody-of-this-name"}, 0),
        ("admin:licenses_license_changelist", {"stuck": "yes"}, 1),
        ("admin:projects_enduser_changelist", {}, 2),
    ):
        asked = follow_export(client, f"{reverse(listing)}?{urlencode(wanted)}")
        assert set(dict(parse_qsl(asked.get("filters", "")))) == set(wanted) - {"o", "p"}
        assert ask(client, project=str(acme.pk), **asked).status_code == 302, asked
        export = Export.objects.filter(made_by=user).latest("created_at")
        assert (export.status, export.rows_written, len(table(file_of(client, export)))) == (
            "done",
            count,
            count + 1,
        ), asked
    logged = ActionLog.objects.filter(actor=user, action="export.create").order_by("at")
    # The log says by what, and not whom somebody looked for.
    assert [line.details.get("filtered_by") for line in logged[:2]] == [["mode__exact", "status__exact"], ["q"]]
    # A filter that the list does not offer tells nothing, and none reaches another project's rows.
    made = Export.objects.filter(made_by=user).count()
    for filters in (
        "project__memberships__user__password__startswith=a",
        "created_at__gte=never",
        "q=%00",
        "created_at__year=99999999999",
        "mode__exact__x=1",
        "x" * 1001,
    ):
        assert ask(client, project=str(acme.pk), filters=filters).status_code == 200, filters
    assert ask(client, project=str(other_project.pk), filters="status__exact=failed").status_code == 200
    assert Export.objects.filter(made_by=user).count() == made
    support, staff = somebody(group="Support")
    ask(support, filters=f"status__exact=failed&q={dana.external_id}")
    assert Export.objects.get(made_by=staff).rows_written == 2
    # Who only looks takes nothing away, and is offered nothing.
    viewer, _ = somebody(project=acme, role=Role.VIEWER)
    assert b"Export these" not in viewer.get(reverse("admin:payments_transaction_changelist")).content
    assert b"Export these" not in client.get(reverse("admin:projects_apikey_changelist")).content


@pytest.mark.no_db
def test_no_text_begins_a_formula_and_plain_text_stays() -> None:
    """S31: whatever the column of whichever list, in either format."""
    for text in EVIL:
        assert guarded(text).startswith("'"), text
        assert "\x00" not in guarded(text) and "\ud800" not in guarded("a\ud800")
    assert [guarded(text) for text in ("Dana", "a=b", "1+1", "")] == ["Dana", "a=b", "1+1", ""]
    assert len(guarded("x" * 100_000)) <= 32_767
    for listing in LISTINGS.values():
        headings = [heading for heading, _ in listing.columns]
        rows = [tuple([evil] * len(headings)) for evil in EVIL]
        plain = b"".join(write_csv(headings, [rows], lambda count: None))
        assert {cell[:1] for row in table(plain)[1:] for cell in row} == {"'"}
        sheet = cells(b"".join(write_xlsx(headings, [rows], lambda count: None)))
        texts = set(re.findall(r"<t[^>]*>([^<]*)</t>", sheet)) - set(headings)
        assert texts and {text[:1] for text in texts} <= {"'", "&"} and "<f>" not in sheet


def test_what_users_chose_is_no_formula_in_either_format(acme: Project) -> None:
    """S31: an e-mail, an id, a description and a reason that begin as formulas do."""
    for evil in EVIL:
        create_payment(
            acme,
            description=evil.replace("\x00", ""),
            end_user=create_end_user(acme, external_id=f"{evil[:1].strip(chr(0)) or '='}{uuid.uuid4()}"),
        )
    client, user = somebody(project=acme, role=Role.OWNER)
    for form in ("csv", "xlsx"):
        ask(client, what="payments", format=form, project=str(acme.pk))
        content = file_of(client, Export.objects.filter(made_by=user).latest("created_at"))
        if form == "xlsx":
            assert "<f>" not in cells(content) and "<f " not in cells(content)
            texts = re.findall(r"<t[^>]*>([^<]*)</t>", cells(content))
        else:
            texts = [one for row in table(content)[1:] for one in row]
        assert len(texts) > 20
        assert not [
            one for one in texts if one.lstrip()[:1] in "=+-@＝" and one.strip() and not one.lstrip("-").isdigit()
        ]


# Refuses


def test_nobody_exports_what_they_may_not_see_or_fetches_anothers_file(acme: Project, other_project: Project) -> None:
    create_payment(acme)
    (mine, me), (theirs, them) = (
        somebody(project=acme, role=Role.DEVELOPER),
        somebody(project=other_project, role=Role.OWNER),
    )
    viewer, _ = somebody(project=acme, role=Role.VIEWER)
    for client, project in ((theirs, str(acme.pk)), (viewer, str(acme.pk)), (mine, ""), (theirs, "")):
        assert ask(client, project=project).status_code == 200
    assert ask(mine, project=str(acme.pk), what="passwords").status_code == 200
    assert ask(mine, project=str(acme.pk), since="2026-02-02", until="2026-01-01").status_code == 200
    assert not Export.objects.filter(made_by__in=[me, them]).exists()
    ask(mine, project=str(acme.pk))
    export = Export.objects.get(made_by=me)
    root = User.objects.create_superuser(f"{uuid.uuid4().hex}@example.com", "x" * 12)
    boss = Client()
    boss.force_login(root)
    for client in (theirs, viewer, boss, Client()):
        assert client.get(reverse("admin:backoffice_export_file", args=[export.pk])).status_code in (302, 404)
        assert client.get(reverse("admin:backoffice_export_change", args=[export.pk])).status_code in (302, 403)
    theirs.get(reverse("admin:backoffice_export_changelist"))
    assert str(export.pk) not in theirs.get(reverse("admin:backoffice_export_changelist")).content.decode()
    assert str(export.pk) in mine.get(reverse("admin:backoffice_export_changelist")).content.decode()
    with pytest.raises(ApiError):
        request_export(actor=them, wanted=Wanted("payments", acme.pk), file_format="csv")
    User.objects.filter(pk=me.pk).update(is_staff=False)
    assert mine.get(reverse("admin:backoffice_export_file", args=[export.pk])).status_code == 302


# Edge


def test_a_large_one_is_made_in_the_background_piece_by_piece_and_expires(
    acme: Project, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(making, "AT_ONCE_ROWS", 10)
    monkeypatch.setattr(listings, "CHUNK_ROWS", 7)
    monkeypatch.setattr("backoffice.services.exports.writing.PART_BYTES", 400)
    moment = timezone.now()
    names = [f"u{number:03}-{uuid.uuid4().hex[:6]}" for number in range(40)]
    # Many in one instant: the pages between them lose and double nothing.
    EndUser.objects.bulk_create(
        EndUser(project=acme, external_id=name, created_at=moment - dt.timedelta(seconds=number // 15))
        for number, name in enumerate(names)
    )
    told: list[int] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        shows = sql.startswith('UPDATE "backoffice_export" SET "rows_written"') and export.pk in params
        if shows and params[0] and not connection.in_atomic_block:
            told.append(params[0])
        return execute(sql, params, many, context)

    client, user = somebody(group="Support")
    page = ask(client, what="end_users", project=str(acme.pk), filters="q=u0")
    export = Export.objects.get(made_by=user)
    assert (export.status, export.rows_written) == ("pending", 0)
    assert 'http-equiv="refresh"' in client.get(page["Location"]).content.decode()
    assert client.get(reverse("admin:backoffice_export_file", args=[export.pk])).status_code == 404
    with connection.execute_wrapper(note):
        assert make_due_exports() >= 1
    export.refresh_from_db()
    assert (export.status, export.rows_written) == ("done", 40) and export.parts.count() > 3
    # Whoever looks meanwhile is told how far it is: each step is committed by itself.
    assert len(told) > 3 and told == sorted(told) and told[0] < 40
    rows = table(file_of(client, export))[1:]
    assert sorted(row[2] for row in rows) == sorted(names)
    Export.objects.filter(pk=export.pk).update(expires_at=timezone.now() - dt.timedelta(seconds=1))
    expire_exports()
    export.refresh_from_db()
    assert (export.status, export.filters) == ("expired", "") and not ExportPart.objects.filter(export=export).exists()
    assert client.get(reverse("admin:backoffice_export_file", args=[export.pk])).status_code == 404


def test_who_lost_their_rights_meanwhile_gets_none_of_the_rows(acme: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    create_payment(acme)
    monkeypatch.setattr(making, "AT_ONCE_ROWS", 0)
    client, user = somebody(project=acme, role=Role.DEVELOPER)
    ask(client, project=str(acme.pk))
    Membership.objects.filter(user=user).delete()
    make_export(Export.objects.get(made_by=user))
    export = Export.objects.get(made_by=user)
    assert (export.status, export.rows_written) == ("done", 0)


def test_over_many_projects_a_file_is_made_in_the_background(acme: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "PROJECTS_AT_ONCE", 0)
    support, user = somebody(group="Support")
    ask(support, project="", since="2999-01-01")
    assert Export.objects.get(made_by=user).status == "pending"
    ask(support, project=str(acme.pk), since="2999-01-01")
    assert Export.objects.filter(made_by=user, status="done").count() == 1


def test_a_file_that_was_made_is_not_fetched_by_who_may_not_see_its_rows_any_more(acme: Project) -> None:
    """S8: from the next request on, not when the file's day is over."""
    create_payment(acme)
    (member, developer), (support, staff) = somebody(project=acme, role=Role.DEVELOPER), somebody(group="Support")
    ask(member, project=str(acme.pk))
    ask(support, project="", since="2999-01-01")
    for client, user in ((member, developer), (support, staff)):
        export = Export.objects.get(made_by=user, status="done")
        assert file_of(client, export)
        Membership.objects.filter(user=user).update(role=Role.VIEWER)
        user.groups.clear()
        assert client.get(reverse("admin:backoffice_export_file", args=[export.pk])).status_code == 404


# Race


def test_two_workers_make_one_file_and_one_that_died_is_begun_anew(
    acme: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_payment(acme)
    monkeypatch.setattr(making, "AT_ONCE_ROWS", 0)
    client, user = somebody(project=acme, role=Role.DEVELOPER)
    ask(client, project=str(acme.pk))
    export = Export.objects.get(made_by=user)
    assert sorted(at_once(3, lambda _: make_export(Export.objects.get(pk=export.pk)))) == [False, False, True]
    Export.objects.filter(pk=export.pk).update(status="running", lease_until=timezone.now() - dt.timedelta(seconds=1))
    assert make_export(export)
    assert len(table(file_of(client, export))) == 2
    for _ in range(making.WAITING_MAX):
        ask(client, project=str(acme.pk))
    assert b"still being made" in ask(client, project=str(acme.pk)).content
