"""The demo follows its file: what the page's button does."""

import asyncio
import sys
from pathlib import Path

from app.standalone import demo_switch
from app.standalone.child import Child, Command
from app.standalone.demo_switch import DemoSwitch
from app.standalone.errors import StandaloneError


def command(folder: Path, program: str) -> Command:
    return Command("demo", (sys.executable, "-c", program), {}, folder / "demo.log")


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def test_it_runs_while_the_file_is_there(tmp_path: Path) -> None:
    async def check() -> None:
        children: list[Child] = []
        file = tmp_path / "demo.on"
        file.touch()  # left by a run before
        switch = DemoSwitch(file, command(tmp_path, "import time; time.sleep(60)"), children, lambda _: None)
        switch.reset(on=False)
        following = asyncio.create_task(switch.follow())
        assert not file.exists()
        file.touch()
        await until(lambda: children and children[0].running)
        demo = children[0]
        file.unlink()
        await until(lambda: not children)
        assert not demo.running
        file.touch()
        await until(lambda: children and children[0].running)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await children[0].stop(2)

    asyncio.run(check())


def test_a_demo_that_cannot_run_switches_itself_off(tmp_path: Path, monkeypatch) -> None:
    async def fails(child, say, *_):
        await child.wait()
        raise StandaloneError("it died again and again")

    monkeypatch.setattr(demo_switch, "keep_alive", fails)

    async def check() -> None:
        said: list[str] = []
        switch = DemoSwitch(tmp_path / "demo.on", command(tmp_path, "raise SystemExit(1)"), [], said.append)
        switch.reset(on=True)
        following = asyncio.create_task(switch.follow())
        await until(lambda: not (tmp_path / "demo.on").exists())
        assert said == ["The demo is off: it died again and again"]
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(check())
