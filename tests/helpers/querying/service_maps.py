"""Asks for maps of services."""

import asyncio
from typing import Any

from app.api.page.page_config import PageConfig
from app.api.status.process import PROCESS, Process
from tests.helpers.querying.api import api_over, serving
from tests.query.golden import START_NS

LOAD = """load
  t1 a    name=GET resource.service.name=web kind=server duration=100ms
  t1 b<a  name=call resource.service.name=web kind=client duration=80ms
  t1 c<b  name=Pay resource.service.name=pay kind=server duration=70ms status=error
  t1 d<c  name=SELECT resource.service.name=pay kind=client duration=20ms span.db.system.name=postgresql
  t1 e<c  name=GET resource.service.name=pay kind=client duration=10ms span.db.system=redis
  t2 a    name=GET resource.service.name=web kind=server duration=50ms
  t2 b<a  name=Pay resource.service.name=pay kind=server duration=10ms
  t3 a    name=tick resource.service.name="a \\"b\\"" kind=internal duration=1ms
"""


RANGE = f"start={START_NS // 10**9 - 10}&end={START_NS // 10**9 + 90}"


def ask(
    backend: Any,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    page: PageConfig | None = None,
) -> Any:
    api = api_over(backend)
    api[PROCESS] = Process("all", page=page or PageConfig())

    async def use(base: str) -> Any:
        import aiohttp

        async with aiohttp.ClientSession() as session, session.request(method, base + path, headers=headers) as answer:
            text = await answer.text()
            return answer.status, text

    return asyncio.run(serving(api, use))


# Seven services, each of which calls the next.
CHAIN = "load\n" + "\n".join(
    f"  t1 {span}{above} name=x resource.service.name=s{n} kind=server duration=1ms"
    for n, (span, above) in enumerate(zip("abcdefg", ["", *(f"<{one}" for one in "abcdef")], strict=True))
)
