"""`stretto vulture`: the command line, the servers, and how it ends."""

import argparse
import asyncio
import base64
import logging
import os
import signal
import ssl
import sys
import time
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from app.cli.demo.command import TENANT, TOKEN, receiver
from app.cli.query.times import duration_s, moment_s
from app.cli.vulture import metrics
from app.cli.vulture.logfmt import line
from app.cli.vulture.servers import OtlpGrpcSender, OtlpHttpSender, QueryApi, TraceSender, closed
from app.cli.vulture.vulture import KINDS, Vulture, VulturePlan
from app.cli.vulture.written import Range, WrittenTraces, load_written, save_written
from app.errors import StrettoError
from app.net.tenant import HEADER

log = logging.getLogger(__name__)

EXIT_FAILED: Final = 1
_DEFAULTS_S: Final = {"read": 30, "search": 60, "metrics": 60}
# Between the writes of a trace, of which there are up to three. `--once` is a smoke test that somebody waits for.
_LATE_WRITE_S: Final = 60
_LATE_WRITE_ONCE_S: Final = 5


def main(argv: list[str]) -> int:
    """Runs until SIGINT or SIGTERM, or as long as `--for` or `--once` say. Returns 1 where a check or write failed,
    else 0. Raises: StrettoError
    """
    options = _parser().parse_args(argv)
    if options.late_write is None:
        options.late_write = _LATE_WRITE_ONCE_S if options.once else _LATE_WRITE_S
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="ts=%(asctime)s level=%(levelname)s %(message)s")
    return asyncio.run(_run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stretto vulture",
        description="Writes known traces, reads them back for ever, and counts what is missing or wrong.",
    )
    to = parser.add_argument_group("where")
    to.add_argument(
        "--to",
        type=receiver,
        default="127.0.0.1:4317",
        metavar="HOST:PORT",
        help="an OTLP/gRPC receiver; with https:// in front: over TLS (default 127.0.0.1:4317)",
    )
    to.add_argument("--to-http", metavar="URL", help="an OTLP/HTTP receiver instead, as http://127.0.0.1:4318")
    to.add_argument("--url", default="http://127.0.0.1:3200", help="the query API (default http://127.0.0.1:3200)")
    to.add_argument("--ca-file", type=Path, help="PEM file with the CA of both (default: the system's)")
    to.add_argument("--tenant", default=os.environ.get(TENANT, ""), help=f"tenant of the traces; or ${TENANT}")
    to.add_argument("--token", default=os.environ.get(TOKEN, ""), help=f"if one is required; better in ${TOKEN}")
    to.add_argument("--user", default="", help="send the token as the password of this user (Basic), not as Bearer")
    to.add_argument("--timeout", type=_seconds, default=30, metavar="30s", help="of each request (default 30s)")
    when = parser.add_argument_group("when")
    when.add_argument(
        "--write-interval", type=_seconds, default=15, metavar="15s", help="a trace every so often (default 15s)"
    )
    when.add_argument(
        "--late-write",
        type=duration_s,
        metavar="1m",
        help="between the writes of a trace (default 1m; with --once 5s)",
    )
    when.add_argument(
        "--check-after", type=duration_s, default=5, metavar="5s", help="first check after the last write (default 5s)"
    )
    for kind, seconds in _DEFAULTS_S.items():
        when.add_argument(
            f"--{kind}-interval",
            type=duration_s,
            default=seconds,
            metavar=f"{seconds}s",
            help=f"a {kind} of a recent and of an old trace every so often; 0s: never (default {seconds}s)",
        )
    when.add_argument(
        "--recent", type=_seconds, default=14 * 60, metavar="14m", help="which traces are recent (default 14m)"
    )
    when.add_argument(
        "--retention", type=_seconds, default=14 * 24 * 3600, metavar="14d", help="how old they get (default 14d)"
    )
    known = parser.add_argument_group("what is known")
    known.add_argument("--seed", default="vulture", help="several vultures of one tenant need different ones")
    known.add_argument("--state-file", type=Path, help="remembers what was acknowledged, for the next process")
    known.add_argument(
        "--written-since", type=moment_s, metavar="TIME", help="a vulture of this seed wrote without a gap since then"
    )
    known.add_argument("--no-write", action="store_true", help="only check what others wrote")
    end = parser.add_argument_group("ends")
    end.add_argument("--once", action="store_true", help="write one trace, check it, and end")
    end.add_argument(
        "--for",
        dest="length_s",
        type=_seconds,
        metavar="10m",
        help="write for so long; then finish the traces that were begun, and end",
    )
    end.add_argument("--listen", default="127.0.0.1:3210", metavar="HOST:PORT", help="serves /metrics; '' for none")
    return parser


def _seconds(text: str) -> int:
    """An argparse type: a duration above zero."""
    if (seconds := duration_s(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be at least 1s")
    return seconds


async def _run(options: argparse.Namespace) -> int:
    written = _written(options)
    headers = _headers(options.token, options.user, options.tenant)
    context, ca = _trust(options.ca_file)
    timeout = aiohttp.ClientTimeout(total=options.timeout)
    session = aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(ssl=True if context is None else context)
    )
    to: TraceSender = (
        OtlpHttpSender(options.to_http, session)
        if options.to_http
        else OtlpGrpcSender(options.to, ca, headers, options.timeout)
    )

    def save(now: WrittenTraces) -> None:
        if options.state_file is not None:
            save_written(options.state_file, options.seed, options.write_interval, now)

    vulture = Vulture(
        _plan(options), None if options.no_write else to, QueryApi(options.url, session), written, save=save
    )
    metrics.show_zeros()
    runner = None
    try:
        runner = await _listen(options.listen)
        await _until_end(vulture, options)
    finally:
        await closed(to, session)
        if runner is not None:
            await runner.cleanup()
    ended = {"checks": vulture.checks, "failed": vulture.failures, "failed_writes": vulture.write_failures}
    log.info(line("ended", **ended))
    if (options.once or options.length_s) and not vulture.checks:
        log.error(line("nothing was checked"))
        return EXIT_FAILED
    return EXIT_FAILED if vulture.failures or vulture.write_failures else 0


async def _until_end(vulture: Vulture, options: argparse.Namespace) -> None:
    """Until the time is over, or SIGINT or SIGTERM. After a time of its own, what was begun is finished."""
    log.info(line("started", to=options.to_http or options.to, url=options.url, seed=options.seed))
    work = asyncio.ensure_future(vulture.write_one() if options.once else vulture.run())
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        async with asyncio.timeout(options.length_s):
            await work
    except TimeoutError:
        finishing = work = asyncio.ensure_future(vulture.finish())
        await asyncio.wait([finishing])
    except asyncio.CancelledError:
        if not stopped:
            raise


def _plan(options: argparse.Namespace) -> VulturePlan:
    return VulturePlan(
        seed=options.seed,
        write_interval_s=options.write_interval,
        late_write_s=options.late_write,
        check_after_s=options.check_after,
        recent_s=options.recent,
        retention_s=options.retention,
        intervals={kind: getattr(options, f"{kind}_interval") for kind in KINDS},
    )


def _written(options: argparse.Namespace) -> WrittenTraces:
    """What earlier processes wrote. Raises: StateError"""
    interval_s, retention_s = options.write_interval, options.retention
    written = WrittenTraces(interval_s, retention_s)
    if options.state_file is not None:
        written = load_written(options.state_file, options.seed, interval_s, retention_s)
    if options.written_since is not None and not written.ranges:
        first_s = -(-options.written_since // interval_s) * interval_s
        # The last ones may wait for their late writes.
        last_s = int(time.time() - 3 * options.late_write) // interval_s * interval_s
        if last_s >= first_s:
            written = WrittenTraces(interval_s, retention_s, [Range(first_s, last_s)])
    if options.no_write and not written.ranges:
        raise StrettoError("--no-write: nothing is known to be written; --state-file or --written-since says what is")
    return written


def _headers(token: str, user: str, tenant: str) -> dict[str, str]:
    headers = {HEADER: tenant} if tenant else {}
    if token and user:
        headers["Authorization"] = f"Basic {base64.b64encode(f'{user}:{token}'.encode()).decode()}"
    elif token:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _trust(ca_file: Path | None) -> tuple[ssl.SSLContext | None, bytes | None]:
    """How certificates are checked, for HTTP and for gRPC. Raises: StrettoError"""
    if ca_file is None:
        return None, None
    try:
        return ssl.create_default_context(cafile=ca_file), ca_file.read_bytes()
    except (OSError, ssl.SSLError) as err:
        raise StrettoError(f"--ca-file {ca_file}: cannot be read as PEM: {err}") from err


async def _listen(where: str) -> web.AppRunner | None:
    """Serves /metrics and /ready. Raises: StrettoError"""
    if not where:
        return None
    host, _, port = where.rpartition(":")
    app = web.Application()

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ready\n")

    async def show_metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(REGISTRY), headers={"Content-Type": content_type})

    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", show_metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    except (OSError, ValueError) as err:
        await runner.cleanup()
        raise StrettoError(f"--listen {where}: cannot listen there: {err}") from err
    return runner
