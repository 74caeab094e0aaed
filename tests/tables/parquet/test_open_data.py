"""A bucket that was written by us, read by DuckDB, polars and pyarrow: the numbers are those of the requests.

Files differ in their columns: the third flush has attributes that the others have not, and most of its own attributes
are in the overflow.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from fsspec.implementations.arrow import ArrowFSWrapper
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from pyarrow import fs

from benchmarks.workload import Options, requests
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.storage.urls import object_url
from tests.helpers.blocks.written_blocks import TENANT, WrittenBlocks
from tests.helpers.files import ROOT
from tests.helpers.generator.truth import Seen, spans_of
from tests.helpers.live.whole_way import request, span
from tests.helpers.storage.moto_s3 import KEY, REGION, SECRET, MotoS3, moto_s3

SHOP = [body for body, _ in requests(Options(spans=900, spans_per_request=300))]
ODD = request(
    [
        span(
            number,
            trace=bytes([number]) * 16,
            attributes={f"rare{number}": AnyValue(int_value=number), "http.route": "/odd"},
        )
        for number in range(1, 41)
    ],
    service_name="odd",
)
# An attribute that has a column of its own here, and is in the overflow there.
FEW = request([span(1, trace=b"f" * 16, attributes={"rare7": AnyValue(int_value=-7)})], service_name="odd")
SPANS = spans_of([*SHOP, ODD, FEW])
SERVICE = "resource.service.name"
COLUMNS: dict[str, Any] = {
    "trace_id": pl.Binary,
    "span_id": pl.Binary,
    "parent_span_id": pl.Binary,
    "duration_ns": pl.Int64,
    "status_code": pl.Int8,
    SERVICE: pl.String,
    "span.http.route": pl.String,
}


class Answers(NamedTuple):
    """What every tool must find.

    p99_ms: by service; errors: by service; calls: (parent's service, child's service) → number; routes: spans by
    `http.route`; rare: number of spans with `rare7`, wherever a file has it
    """

    p99_ms: dict[str, float]
    errors: dict[str, int]
    calls: dict[tuple[str, str], int]
    routes: dict[str, int]
    rare: int


def by_hand(spans: Sequence[Seen]) -> Answers:
    ms: dict[str, list[float]] = defaultdict(list)
    for one in spans:
        ms[one.service].append(round(one.seconds * 1e9) / 1e6)
    by_id = {(one.trace_id, one.span_id): one for one in spans}
    parents = ((by_id.get((one.trace_id, one.parent_id)), one) for one in spans)
    return Answers(
        {service: quantile(sorted(values), 0.99) for service, values in ms.items()},
        dict(Counter(one.service for one in spans if one.status == "ERROR")),
        dict(Counter((parent.service, child.service) for parent, child in parents if parent is not None)),
        dict(Counter(one.attributes["http.route"] for one in spans if "http.route" in one.attributes)),
        sum("rare7" in one.attributes for one in spans),
    )


def quantile(values: list[float], share: float) -> float:
    """Between the two nearest values, linearly."""
    at = share * (len(values) - 1)
    low = math.floor(at)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (at - low)


EXPECTED = by_hand(SPANS)


def check(found: Answers) -> None:
    assert found.p99_ms == pytest.approx(EXPECTED.p99_ms)
    assert found._replace(p99_ms={}) == EXPECTED._replace(p99_ms={})


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    with moto_s3() as server:
        yield server


class Bucket(NamedTuple):
    """urls: of the visible files; files: for pyarrow; options: for polars"""

    urls: list[str]
    files: fs.FileSystem
    options: dict[str, str] | None

    @property
    def paths(self) -> list[str]:
        """The files, as pyarrow's file system names them."""
        return [url.partition("://")[2] for url in self.urls]


@pytest.fixture(params=["local", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    store = ObjectStore(StorageConfig("local", str(tmp_path)))
    files, options = fs.LocalFileSystem(), None
    if request.param == "s3":
        s3: MotoS3 = request.getfixturevalue("s3")
        store, options = s3.store(f"prefix/{request.node.originalname}"), s3.polars
        files = fs.S3FileSystem(access_key=KEY, secret_key=SECRET, endpoint_override=s3.url, region=REGION)
    blocks = WrittenBlocks(store, columns_max=60)
    metas = [*blocks.flush(SHOP[:1]), *blocks.flush(SHOP[1:])]
    blocks.columns_max = 16
    metas += [*blocks.flush([ODD]), *blocks.flush([FEW])]
    urls = [object_url(store.config, f"{meta.folder}/{file.name}") for meta in metas for file in meta.files]
    assert all(f"/blocks/{TENANT}/" in url for url in urls)
    return Bucket(urls, files, options)


class ThroughArrow(ArrowFSWrapper):
    """Files of any of Arrow's file systems, for DuckDB without its extension for S3."""

    protocol = "arrow"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("arrow://")


def test_files_differ(bucket: Bucket) -> None:
    """Or the other tests would show little. One attribute is a column here, and in the overflow there."""
    columns = [set(ds.dataset([path], filesystem=bucket.files).schema.names) for path in bucket.paths]
    assert sum("span.rare7:int" in names for names in columns) == 1
    assert len({frozenset(names) for names in columns}) > 2
    assert {"overflow" in names for names in columns} == {True, False}


def test_duckdb(bucket: Bucket) -> None:
    with duckdb.connect() as db:
        db.register_filesystem(ThroughArrow(bucket.files))
        urls = [f"arrow://{path}" for path in bucket.paths]
        db.sql(f"CREATE VIEW spans AS SELECT * FROM read_parquet({urls}, union_by_name = true)")

        def ask(sql: str) -> list[Any]:
            return db.sql(sql).fetchall()

        (documented,) = re.findall(r"```sql\n(.*?)\n```", (ROOT / "docs/schema.md").read_text(), re.DOTALL)
        either = documented.replace("span.rare:int", "span.rare7:int")

        check(
            Answers(
                dict(ask(f'SELECT "{SERVICE}", quantile_cont(duration_ns / 1e6, 0.99) FROM spans GROUP BY ALL')),
                dict(ask(f'SELECT "{SERVICE}", count(*) FROM spans WHERE status_code = 2 GROUP BY ALL')),
                {
                    (parent, child): count
                    for parent, child, count in ask(
                        f'SELECT p."{SERVICE}", c."{SERVICE}", count(*) FROM spans c JOIN spans p '
                        "ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id GROUP BY ALL"
                    )
                },
                dict(
                    ask(
                        'SELECT "span.http.route", count(*) FROM spans WHERE "span.http.route" IS NOT NULL GROUP BY ALL'
                    )
                ),
                ask(f"SELECT count({either}) FROM spans")[0][0],
            )
        )


def test_polars(bucket: Bucket) -> None:
    entries = pl.List(
        pl.Struct(
            {
                "column": pl.String,
                "string_value": pl.String,
                "bool_value": pl.Boolean,
                "int_value": pl.Int64,
                "double_value": pl.Float64,
                "bytes_value": pl.Binary,
            }
        )
    )
    schema = {**COLUMNS, "span.rare7:int": pl.Int64, "overflow": entries}
    spans = pl.scan_parquet(
        bucket.urls,
        schema=schema,
        missing_columns="insert",
        extra_columns="ignore",
        storage_options=bucket.options,
    ).collect()
    by_service = spans.group_by(SERVICE).agg(
        ms=pl.col("duration_ns").quantile(0.99, interpolation="linear") / 1e6, errors=(pl.col("status_code") == 2).sum()
    )
    pairs = spans.join(
        spans, left_on=["trace_id", "parent_span_id"], right_on=["trace_id", "span_id"], suffix=" of parent"
    )
    calls = pairs.group_by(f"{SERVICE} of parent", SERVICE).len()
    routes = spans.drop_nulls("span.http.route").group_by("span.http.route").len()
    rare = spans["overflow"].list.eval(pl.element().struct.field("column") == "span.rare7:int").list.any().sum()
    check(
        Answers(
            dict(by_service.select(SERVICE, "ms").iter_rows()),
            dict(by_service.filter(pl.col("errors") > 0).select(SERVICE, "errors").iter_rows()),
            {(parent, child): count for parent, child, count in calls.iter_rows()},
            dict(routes.iter_rows()),
            rare + spans["span.rare7:int"].count(),
        )
    )


def test_pyarrow(bucket: Bucket) -> None:
    parts = ds.dataset(bucket.paths, filesystem=bucket.files)
    schema = pa.unify_schemas([part.physical_schema for part in parts.get_fragments()])
    spans = ds.dataset(bucket.paths, filesystem=bucket.files, schema=schema)
    # Only what is joined: Arrow's joins take no lists.
    table = spans.to_table(columns=list(COLUMNS))
    services = pc.unique(table[SERVICE]).to_pylist()
    ms = {
        service: pc.quantile(table.filter(pc.field(SERVICE) == service)["duration_ns"], 0.99)[0].as_py() / 1e6
        for service in services
    }
    errors = spans.to_table(columns=[SERVICE], filter=ds.field("status_code") == 2).group_by(SERVICE)
    parents = table.select(["trace_id", "span_id", SERVICE]).rename_columns(["trace_id", "span_id", "caller"])
    calls = table.select(["trace_id", "parent_span_id", SERVICE]).join(
        parents, ["trace_id", "parent_span_id"], ["trace_id", "span_id"], join_type="inner"
    )
    pairs = calls.group_by(["caller", SERVICE]).aggregate([([], "count_all")]).to_pylist()
    routes = spans.to_table(columns=["span.http.route"], filter=ds.field("span.http.route").is_valid())
    hidden = pc.list_flatten(spans.to_table(columns=["overflow"])["overflow"].combine_chunks())
    rare = pc.sum(pc.equal(hidden.field("column"), "span.rare7:int")).as_py()
    rare += spans.count_rows(filter=ds.field("span.rare7:int").is_valid())
    check(
        Answers(
            ms,
            {row[SERVICE]: row["count_all"] for row in errors.aggregate([([], "count_all")]).to_pylist()},
            {(row["caller"], row[SERVICE]): row["count_all"] for row in pairs},
            {row["values"]: row["counts"] for row in pc.value_counts(routes["span.http.route"]).to_pylist()},
            rare,
        )
    )
