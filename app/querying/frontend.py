"""Answers queries over all processes: `app.api.backend.Backend`.

It takes a view of the blocks at one moment, which says for each partition up to which offset blocks have the spans. It
asks live stores for the offsets from there on, and whoever reads blocks for the rest. So each span counts once, whatever
is flushed, merged or moved meanwhile: who cannot answer for exactly these offsets says so, and is not counted.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from app.api.backend import TraceAnswer
from app.api.errors import Unavailable
from app.querying.block_reader import BlockReader, blocks_of_trace
from app.querying.damage import MissingData, missing_in_range, missing_of_trace, past_damage
from app.querying.executor import Cancelled, QueryExecutor, unavailable
from app.querying.gathering import all_of, gather
from app.querying.live_messages import PARTIAL, LiveAsk, expect
from app.querying.live_stores import LiveStores, OpenedLive, StaleBlocks
from app.querying.participants import LivePeer, Local, Participant
from app.querying.querier import Querier, compile_early
from app.querying.questions import kind_of
from app.querying.redacted import redacted_parts
from app.querying.trace_partial import TracePart, joined
from app.rpc.conversation import PeerGone
from query.request_json import Request
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest
from query.results import MetricsResult, SearchResult
from query.scan.progress import QueryObserver
from query.tags.tag_cache import TagCache
from query.tags.tags import TagNames, TagValues
from query.trace.by_id import trace_by_id
from tables.catalog.block_list import BlockList
from tables.catalog.damage import damage_lines
from tables.catalog.snapshot import BlockSnapshot
from tables.errors import DamagedError, OutdatedError, StorageError
from tables.wall import walled
from tables.wire.split import partition_of
