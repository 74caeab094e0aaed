"""The metrics of the worker processes that share ports, as one text: each sample with the label `worker`."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from prometheus_client import CollectorRegistry, Gauge

from app.api.status import protobuf_metrics

WORKER_UP: Final = Gauge(
    "stretto_worker_up",
    "Whether a worker process gave its metrics (1) or not (0). Only where several share the ports of one machine.",
    ["worker"],
)
OWN: Final = "own"  # ?worker=own: the metrics of the process that answers, alone
WORKER: Final = "number"  # &number=2: its series have the label worker="2"; of protobuf only
_ANSWER_S: Final = 3.0
_END: Final = "# EOF"
_SAMPLE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?")
_HEADER: Final = re.compile(r"# (HELP|TYPE|UNIT) (\S+)")


async def of_workers(addresses: Sequence[str], accept: str) -> str:
    """Asks each worker, at once, in the format that `accept` asks for. Whoever does not answer is left out, and
    `stretto_worker_up` says so.
    """
    answers = await _ask_all(addresses, accept)
    numbered = {str(number): text.decode() for number, text in enumerate(answers, 1)}
    up = [f'{WORKER_UP._name}{{worker="{worker}"}} {int(bool(text))}' for worker, text in numbered.items()]  # noqa: SLF001
    about = [f"# HELP {WORKER_UP._name} {WORKER_UP._documentation}", f"# TYPE {WORKER_UP._name} gauge"]  # noqa: SLF001
    merged = merge({worker: text for worker, text in numbered.items() if text})
    end = f"{_END}\n" if merged.endswith(f"{_END}\n") else ""
    return f"{merged.removesuffix(end)}{''.join(f'{line}{chr(10)}' for line in about + up)}{end}"


async def protobuf_of_workers(addresses: Sequence[str], accept: str) -> bytes:
    """As `of_workers`, in protobuf: there a family may come several times, and each worker adds the label itself."""
    answers = await _ask_all(addresses, accept)
    registry = CollectorRegistry()
    up = Gauge(WORKER_UP._name, WORKER_UP._documentation, ["worker"], registry=registry)  # noqa: SLF001
    for number, body in enumerate(answers, 1):
        up.labels(str(number)).set(int(bool(body)))
    return b"".join([*answers, protobuf_metrics.encode(registry)])


async def _ask_all(addresses: Sequence[str], accept: str) -> list[bytes]:
    """What each worker answers; nothing where it does not."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S)) as session:
        return await asyncio.gather(*(_asked(session, one, n, accept) for n, one in enumerate(addresses, 1)))


async def _asked(session: aiohttp.ClientSession, address: str, number: int, accept: str) -> bytes:
    url, headers = f"http://{address}/metrics", {"Accept": accept} if accept else {}
    try:
        async with session.get(url, params={"worker": OWN, WORKER: str(number)}, headers=headers) as answer:
            return await answer.read() if answer.ok else b""
    except (aiohttp.ClientError, TimeoutError):
        return b""


def merge(texts: Mapping[str, str]) -> str:
    """Expositions of the same format, by worker: the samples of each metric stand together, as the format wants it."""
    headers: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    ended = False
    for worker, text in texts.items():
        name = ""
        for line in text.splitlines():
            if line == _END:
                ended = True
            elif found := _HEADER.match(line):
                name = found[2]
                known = headers.setdefault(name, [])
                if line not in known:
                    known.append(line)
            elif line and name != WORKER_UP._name:  # noqa: SLF001
                samples.setdefault(name, []).append(_labelled(line, worker))
    blocks = [line for name, about in headers.items() if name in samples for line in about + samples[name]]
    return "".join(f"{line}\n" for line in [*blocks, *([_END] if ended else [])])


def _labelled(line: str, worker: str) -> str:
    found = _SAMPLE.match(line)
    if found is None:
        return line
    label, rest = f'worker="{worker}"', line[found.end() :]
    if found[2] is None:
        return f"{found[1]}{{{label}}}{rest}"
    return f"{found[1]}{{{label}{'' if rest.startswith('}') else ','}{rest}"
