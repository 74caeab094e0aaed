"""Tempo's meta.json, and which attributes its dedicated columns hold."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tables.errors import DamagedError

VERSIONS: Final = ("vParquet4", "vParquet5")
_CONFIG: Final = ConfigDict(frozen=True, extra="ignore")
# Scope and type → how many columns a version has for them. More than that are kept with all other attributes.
_SPARE: Final = {
    "vParquet4": {("resource", "string"): 10, ("span", "string"): 10},
    "vParquet5": {
        (scope, word): n for scope in ("resource", "span", "event") for word, n in (("string", 20), ("int", 5))
    },
}
_NAMES: Final = {"string": "String", "int": "Int"}


class DedicatedColumn(BaseModel):
    """An attribute with a column of its own. Tempo leaves out the scope `span` and the type `string`."""

    model_config = _CONFIG
    scope: Annotated[str, BeforeValidator(lambda value: value or "span")] = Field("span", alias="s")
    name: str = Field(alias="n")
    type: Annotated[str, BeforeValidator(lambda value: value or "string")] = Field("string", alias="t")


class Assigned(NamedTuple):
    """column: its name in the group DedicatedAttributes, such as String01"""

    scope: str
    key: str
    column: str


class TempoMeta(BaseModel):
    """What Tempo says of a block. traces: how many it has; size_bytes: of its data.parquet

    replication_factor: 1 for blocks of Tempo 3 and of the metrics generator; 0 or 3 for blocks of ingesters
    """

    model_config = _CONFIG
    format: str
    block_id: str = Field(alias="blockID")
    start: datetime = Field(alias="startTime")
    end: datetime = Field(alias="endTime")
    traces: int = Field(alias="totalObjects")
    size_bytes: int = Field(alias="size")
    compaction_level: int = Field(0, alias="compactionLevel")
    dedicated_columns: Annotated[list[DedicatedColumn], BeforeValidator(lambda value: value or [])] = Field(
        [], alias="dedicatedColumns"
    )
    replication_factor: int = Field(0, alias="replicationFactor")

    @property
    def version(self) -> str:
        """`vParquet4` or `vParquet5`, also for their previews; another format as it is."""
        base = self.format.partition("-")[0]
        return base if base in VERSIONS else self.format

    @property
    def start_ms(self) -> int:
        """Unix ms; 0 where Tempo knows none."""
        return _unix_ms(self.start)

    @property
    def end_ms(self) -> int:
        """Unix ms; 0 where Tempo knows none."""
        return _unix_ms(self.end)

    def assigned(self) -> Iterator[Assigned]:
        """The dedicated columns that the file has. They are numbered per scope and type, in the order of the meta."""
        spare = _SPARE[self.version]
        used: dict[tuple[str, str], int] = {}
        for column in self.dedicated_columns:
            place = (column.scope, column.type)
            number = used.get(place, 0) + 1
            if number <= spare.get(place, 0):
                used[place] = number
                yield Assigned(column.scope, column.name, f"{_NAMES[column.type]}{number:02d}")


def decode_tempo_meta(path: str, data: bytes) -> TempoMeta:
    """The meta from its JSON. Raises: DamagedError"""
    try:
        return TempoMeta.model_validate_json(data)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedError(path, f"is not a meta.json of Tempo: {where}: {first['msg']}") from err


def _unix_ms(time: datetime) -> int:
    return max(0, int(time.timestamp() * 1000))
