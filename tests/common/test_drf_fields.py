"""A refused value is never repeated in the answer."""

import pytest
from rest_framework import serializers

from common.drf_fields import OneOfField

pytestmark = pytest.mark.no_db


@pytest.mark.parametrize("given", ["sk_live_pasted_here", 7, ["sk_live_pasted_here"], {"a": 1}, ""])
def test_a_wrong_choice_names_the_words_and_not_what_was_given(given: object) -> None:
    with pytest.raises(serializers.ValidationError) as refused:
        OneOfField(choices=["jwks", "hs256"]).run_validation(given)
    assert [str(text) for text in refused.value.detail] == ["Give one of: jwks, hs256."]


def test_a_right_choice_passes() -> None:
    assert OneOfField(choices=["jwks", "hs256"]).run_validation("jwks") == "jwks"
