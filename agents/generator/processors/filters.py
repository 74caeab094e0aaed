"""Filter policies: which spans count."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from agents.generator.config import AttributeMatch, FilterPolicy, PolicyMatch
from agents.generator.processors.batch import Batch
from agents.generator.series.labels import KIND_TEXTS, STATUS_TEXTS, Interner
from tables.columns.types import Bools


def passing(batch: Batch, policies: Sequence[FilterPolicy]) -> Bools | None:
    """The spans that pass all policies; None for all of them."""
    if not policies:
        return None
    mask = np.ones(batch.rows, np.bool_)
    for policy in policies:
        if policy.include is not None:
            mask &= np.logical_and.reduce(_matches(batch, policy.include))
        if policy.include_any is not None:
            mask &= np.logical_or.reduce(_matches(batch, policy.include_any))
        if policy.exclude is not None:
            mask &= ~np.logical_and.reduce(_matches(batch, policy.exclude))
    return mask


def regex_fault(pattern: str) -> str | None:
    """What is wrong with a regular expression; None if it can be used."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as err:
        return str(err)
    return None


def _matches(batch: Batch, wanted: PolicyMatch) -> list[Bools]:
    return [_match(batch, attribute, regex=wanted.match_type == "regex") for attribute in wanted.attributes]


def _match(batch: Batch, attribute: AttributeMatch, *, regex: bool) -> Bools:
    """An attribute that is not there matches nothing."""
    texts = Interner()
    scope, _, key = attribute.key.partition(".")
    match scope:
        case "kind":
            codes = _enum(batch.kind, KIND_TEXTS, texts)
        case "status":
            codes = _enum(batch.status, STATUS_TEXTS, texts)
        case "name":
            codes = batch.text_codes("name", texts)
        case "resource":
            codes = batch.by_resource([facts.texts.get(key, "") for facts in batch.resources], texts)
        case "span":
            codes = np.zeros(batch.rows, np.int32)
            entries = batch.attributes.find([key]).get(key)
            if entries is not None:
                rows = np.flatnonzero(entries >= 0)
                codes[rows] = batch.attributes.codes(entries[rows], texts)
        case _:
            raise ValueError(
                f"filter policy: {attribute.key!r} is not kind, name, status, resource.<key> or span.<key>"
            )
    values = pa.array(texts.values, pa.string())
    found = pc.match_substring_regex(values, attribute.value) if regex else pc.equal(values, attribute.value)
    by_code = found.to_numpy(zero_copy_only=False).astype(np.bool_)
    by_code[0] = False
    chosen: Bools = by_code[codes]
    return chosen


def _enum(column: npt.NDArray[np.int8], texts: Sequence[str], interner: Interner) -> npt.NDArray[np.int32]:
    return interner.codes(texts)[np.where(column < len(texts), column, 0)]
