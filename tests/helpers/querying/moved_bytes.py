"""How much moves between processes: the bytes of all frames that any of them takes."""

from typing import Any

import pytest

from app.rpc.frames import FrameReader


class MovedBytes:
    """Counts from the start; `bytes` may be set to 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        take = FrameReader.take_message

        def counted(reader: FrameReader, message: bytes) -> Any:
            self.bytes += len(message)
            return take(reader, message)

        monkeypatch.setattr(FrameReader, "take_message", counted)
