"""The scan for secrets finds what was planted, in every form that it claims to know."""

import base64
import uuid

import pytest
from django.conf import settings

from projects.models import Project
from tests.security.scan import dump_database, find_canaries

CANARY = "sk_live_CANARY0123456789abcdefXYZ"


@pytest.mark.no_db
@pytest.mark.parametrize(
    "content",
    [
        f"key={CANARY}".encode(),
        f'{{"key": "{CANARY}"}}'.encode(),
        CANARY.encode().hex().encode(),
        base64.b64encode(CANARY.encode()),
        base64.b64encode(b"x" + CANARY.encode() + b"yz"),
        base64.b64encode(b"xy" + CANARY.encode()),
    ],
)
def test_the_scan_finds_a_planted_canary(content: bytes) -> None:
    assert find_canaries({"log": b"before " + content + b" after"}, {"secret key": CANARY}) == ["secret key in log"]


@pytest.mark.no_db
def test_the_scan_leaves_a_mask_alone() -> None:
    assert find_canaries({"page": b"sk_live_...fXYZ"}, {"secret key": CANARY}) == []


@pytest.mark.no_db
def test_a_canary_too_short_to_look_for_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        find_canaries({"log": b""}, {"short": "abc"})


def test_the_dump_holds_what_a_table_holds() -> None:
    planted = f"{CANARY}-{uuid.uuid4().hex}"
    project = Project.objects.create(name="Planted", slug=f"planted-{uuid.uuid4().hex[:12]}", description=planted)
    url = settings.DATABASES["default"]
    address = f"postgres://{url['USER']}:{url['PASSWORD']}@{url['HOST']}:{url['PORT']}/{url['NAME']}"
    try:
        assert find_canaries({"dump": dump_database(address)}, {"planted": planted}) == ["planted in dump"]
    finally:
        project.delete()
    assert find_canaries({"dump": dump_database(address)}, {"planted": planted}) == []
