"""The section storage.iceberg: Iceberg tables over the files of blocks, for other engines."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr

from app.settings.base import Section
from app.settings.values import Name, Words


def _named_values(value: Any) -> Any:
    """A mapping, also from text as environment variables hold it: `type=rest,uri=https://host`."""
    if not isinstance(value, str):
        return value
    pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
    if any(not name or not equals for name, equals, _ in pairs):
        raise ValueError("expected a mapping, or name=value, separated by commas")
    return {name: text for name, _, text in pairs}


Properties = Annotated[
    dict[str, SecretStr], Words("a mapping, or name=value with commas"), BeforeValidator(_named_values)
]


class Iceberg(Section):
    enabled: bool = Field(
        default=False,
        description="Keep an Iceberg table per tenant over the files of its blocks. The compactor updates it. It "
        "needs the extra `iceberg` of the package.",
    )
    catalog: Name = Field(
        default="stretto",
        description="Name of the Iceberg catalog. pyiceberg's own configuration (`.pyiceberg.yaml`, PYICEBERG_… "
        "variables) may set its properties under this name.",
    )
    properties: Properties = Field(
        default={},
        description="Properties of the catalog, by pyiceberg's names: `type` (rest, glue, sql …), `uri`, `warehouse`, "
        "`credential` … If neither these nor pyiceberg's configuration name a catalog: an SQL catalog in the SQLite "
        "file `iceberg.db` in `data_dir`, which only this machine can use.",
    )
    namespace: Name = Field(default="stretto", description="Namespace of the tables. A table has its tenant's name.")
    columns_max: Annotated[int, Field(ge=100, le=50_000)] = Field(
        default=5000,
        description="Most columns of an Iceberg table. Attributes beyond them are not in the table, but in the files.",
    )
