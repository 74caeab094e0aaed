"""`stretto demo` against receivers that want a token, or speak TLS."""

import asyncio
import os
import sys

import pytest

from app.cli.demo import command
from app.settings.environment import overrides
from tests.helpers.querying.api import in_auth_file
from tests.helpers.tls import in_settings, receiving


async def runs(*options: str, env: dict[str, str] | None = None) -> str:
    """What the command says until it is stopped: when it was refused, or two seconds after it has begun, in which it
    sends a hundred traces.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli.demo", "--rate", "50", *options),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):  # until Python has read its modules, on a busy machine
        said = (await process.stdout.readline()).decode()
    try:
        async with asyncio.timeout(2):
            while line := (await process.stdout.readline()).decode():
                said += line
                if "refused" in line:
                    break
    except TimeoutError:
        pass
    process.terminate()
    return said + (await process.communicate())[0].decode()


def test_token(tmp_path):
    """From an option or the environment; without one the receiver refuses, and the demo says so."""
    file = tmp_path / "auth.yaml"
    file.write_text(f"acme: ['{in_auth_file('secret')}']\nsingle-tenant: ['{in_auth_file('single')}']")

    async def use(grpc_at, _):
        assert "UNAUTHENTICATED" in await runs("--to", grpc_at)
        assert "PERMISSION_DENIED" in await runs("--to", grpc_at, "--token", "secret", "--tenant", "acme")
        for options, env in (["--token", "single"], {}), ([], {command.TOKEN: "single"}):
            said = await runs("--to", f"http://{grpc_at}", *options, env=env)
            assert "refused" not in said
            assert "stopped after 0 " not in said

    got = receiving(use, {}, auth_file=str(file)).got
    assert {request.tenant for request in got} == {"single-tenant"}


def test_tls(authority):
    """https:// with the authority's file; without it the certificate is not trusted."""

    async def use(grpc_at, _):
        said = await runs("--to", f"https://{grpc_at}", "--ca-file", str(authority.cert))
        assert "stopped after 0 " not in said
        assert "UNAVAILABLE" in await runs("--to", f"https://{grpc_at}")

    assert receiving(use, in_settings(authority.issue("server"))).got


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--to", "ftp://a:1"], id="scheme"),
        pytest.param(["--to", "localhost"], id="no port"),
        pytest.param(["--to", "a:b"], id="no number"),
        pytest.param(["--ca-file", "/nowhere/ca.pem"], id="no file"),
    ],
)
def test_wrong_arguments(arguments, capsys):
    """The error names the option."""
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_the_server_does_not_take_them_for_settings():
    """`DEMO=1 make run` has one environment for both."""
    assert overrides({command.TOKEN: "a", command.TENANT: "b"}) == ([], [])
