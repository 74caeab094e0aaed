"""The base of all sections of the settings."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A mapping in the settings file. Strict: YAML's types must match; "3200" is not a number."""

    # Keys of Tempo that have no counterpart here, and what to do about them: what their error says.
    not_supported: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def conflict(key: str, text: str, other: str = "") -> PydanticCustomError:
    """The error of a model validator: `key` conflicts with `other`. Both are dotted and relative to the model.

    The error names the line of `key`, or of `other` if `key` is not set.
    """
    return PydanticCustomError("conflict", "{text}", {"text": text, "key": key, "other": other or key})
