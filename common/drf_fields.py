"""Serializer fields that refuse what PostgreSQL cannot hold or a page should not show."""

from typing import Any, NoReturn

from rest_framework import serializers

LINE_BREAKS = frozenset("\t\n\r")


def _is_odd(char: str, *, multiline: bool) -> bool:
    if multiline and char in LINE_BREAKS:
        return False
    code = ord(char)
    return code < 32 or 0x7F <= code < 0xA0 or 0xD800 <= code <= 0xDFFF


class PlainCharField(serializers.CharField):
    """Text without NUL, other control characters or lone surrogates; `multiline=True` allows line breaks."""

    default_error_messages = {"control_characters": "Control characters are not allowed."}

    def __init__(self, *, multiline: bool = False, **options: Any) -> None:
        self.multiline = multiline
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, bool) or not isinstance(data, str):
            self.fail("invalid")
        # Before validators run: some of them would choke on a lone surrogate.
        if any(_is_odd(char, multiline=self.multiline) for char in data):
            self.fail("control_characters")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """A JSON boolean: no text, no number."""

    def to_internal_value(self, data: Any) -> bool:
        if type(data) is not bool:
            self.fail("invalid", input=data)
        return bool(data)


class WholeNumberField(serializers.IntegerField):
    """A JSON integer: no text, no fraction, no exponent, no boolean."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


class OneOfField(serializers.ChoiceField):
    """One of a few words. What was given instead is not repeated: people paste keys into the wrong field."""

    def fail(self, key: str, **kwargs: Any) -> NoReturn:
        """Raise ValidationError that names the words to choose from."""
        if key == "invalid_choice":
            words = ", ".join(str(word) for word in self.choices)
            raise serializers.ValidationError(f"Give one of: {words}.", code=key)
        super().fail(key, **kwargs)


class PlainEmailField(serializers.EmailField):
    """An e-mail address of at most 254 characters, stored in lower case."""

    default_error_messages = {"control_characters": "Control characters are not allowed."}

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=254, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if any(_is_odd(char, multiline=False) for char in data):
            self.fail("control_characters")
        return super().to_internal_value(data).lower()
