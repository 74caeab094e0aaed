"""POST /-/reload: reads the settings again, in all worker processes that share the ports."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import aiohttp
from aiohttp import web

from app.api.call import ACCESS
from app.api.status.process import PROCESS
from app.api.status.worker_metrics import OWN
from app.net.access import AUTHORIZATION, Identity

routes = web.RouteTableDef()

_ANSWER_S: Final = 30.0  # thousands of tenants take seconds to read


class ReloadAnswer(NamedTuple):
    """ok: False: the settings are wrong, and those before stay in use. text: what changed, or what is wrong"""

    ok: bool
    text: str


# Reads the settings of this process again.
ReloadNow = Callable[[], Awaitable[ReloadAnswer]]

RELOAD: Final = web.AppKey[ReloadNow]("reload")


@routes.post("/-/reload")
async def reload(request: web.Request) -> web.Response:
    """200: what changed, and what needs a restart. 500: what is wrong, as Prometheus answers. With several workers a
    line in front of each answer says whose it is.

    Where tokens are needed, it is for those of all tenants (`*`): the settings are those of all.
    """
    request.app[ACCESS].check_operator(Identity.of_http(request.headers).authorization)
    if RELOAD not in request.app:
        raise web.HTTPNotFound
    workers = request.app[PROCESS].workers
    if not workers or request.query.get("worker") == OWN:
        answers = [await request.app[RELOAD]()]
        text = answers[0].text
    else:
        answers = await _of_workers(workers, request.headers.get(AUTHORIZATION))
        text = "\n".join(f"worker {number}:\n{answer.text}" for number, answer in enumerate(answers, 1))
    return web.Response(text=f"{text}\n", status=200 if all(answer.ok for answer in answers) else 500)


async def _of_workers(addresses: Sequence[str], authorization: str | None) -> list[ReloadAnswer]:
    headers = {AUTHORIZATION: authorization} if authorization else {}

    async def ask(session: aiohttp.ClientSession, address: str) -> ReloadAnswer:
        try:
            async with session.post(f"http://{address}/-/reload", params={"worker": OWN}, headers=headers) as answer:
                return ReloadAnswer(answer.ok, (await answer.text()).rstrip("\n"))
        except (aiohttp.ClientError, TimeoutError) as err:
            return ReloadAnswer(False, f"does not answer: {str(err) or type(err).__name__}")

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S)) as session:
        return list(await asyncio.gather(*(ask(session, address) for address in addresses)))
