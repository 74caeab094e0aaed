"""Zstd with contexts that threads keep."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from tables.zstd_contexts import compress, decompress

BODIES = [b"", b"a", b"abc" * 1000, bytes(range(256)) * 300]


@pytest.mark.parametrize("body", BODIES)
def test_is_what_arrow_makes(body: bytes) -> None:
    """Arrow reads it, and it reads what Arrow has written."""
    codec = pa.Codec("zstd", compression_level=1)
    assert codec.decompress(compress(body), len(body), asbytes=True) == body
    assert decompress(codec.compress(body, asbytes=True), len(body)) == body


@pytest.mark.parametrize("size", [0, 2999, 3001, 1 << 40])
def test_another_size_is_an_error(size: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        decompress(compress(b"abc" * 1000), size)


@pytest.mark.parametrize("packed", [b"", b"no frame at all", compress(b"abc" * 1000)[:-3]])
def test_what_is_no_frame_is_an_error(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decompress(packed, 3000)


def test_threads_do_not_share() -> None:
    """A context must not be used by two threads at once."""
    with ThreadPoolExecutor(8) as pool:
        packed = list(pool.map(compress, BODIES * 200))
        sizes = [len(body) for body in BODIES * 200]
        assert list(pool.map(decompress, packed, sizes)) == BODIES * 200
