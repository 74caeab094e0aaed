"""What all sections of the settings have in common."""

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A mapping in the settings file. Strict: YAML's types must fit, "3200" is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def conflict(key: str, text: str, other: str = "") -> PydanticCustomError:
    """The error of a model validator: `key` does not fit to `other`, both dotted, below the model.

    The reader is sent to the line of `key`, or of `other` where `key` is not set.
    """
    return PydanticCustomError("conflict", "{text}", {"text": text, "key": key, "other": other or key})
