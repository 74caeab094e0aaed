"""Tokens of SASL/OAUTHBEARER: from a file that somebody else renews, or by OAuth 2.0's client credentials.

aiokafka asks for one at each new connection, in whichever thread that is.
"""

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

from aiokafka.abc import AbstractTokenProvider

# A token that ends so soon is not used any more: the broker's clock may be ahead.
_SPARE_S: Final = 10.0
# Where the answer does not say for how long a token is good.
_GOOD_FOR_S: Final = 60.0
_ANSWER_S: Final = 10.0
_ANSWER_BYTES_MAX: Final = 1 << 20


class NoToken(OSError):  # noqa: N818  # says what there is
    """There is no token now: the text says why, without any secret."""


def read_secret(file: str) -> str:
    """One line of text. Raises: NoToken"""
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise NoToken(f"{file} cannot be read: {getattr(err, 'strerror', None) or 'not UTF-8'}") from err
    if not secret or not secret.isprintable():
        raise NoToken(f"{file} does not hold a secret: expected one line of text")
    return secret


class _Provider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types here
    def __init__(self, extensions: Mapping[str, str]) -> None:
        self._extensions = dict(extensions)

    def extensions(self) -> Mapping[str, str]:
        """Sent beside the token, as some brokers need it."""
        return self._extensions


class FileTokens(_Provider):
    """Reads the file for each connection."""

    def __init__(self, file: str, extensions: Mapping[str, str]) -> None:
        super().__init__(extensions)
        self._file = file

    async def token(self) -> str:
        """Raises: NoToken"""
        return read_secret(self._file)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What a token endpoint is asked with. secret: reads it. Raises: NoToken. parameters: added to the form"""

    token_url: str
    client_id: str
    secret: Callable[[], str] = field(repr=False)
    scopes: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Any = None  # ssl.SSLContext; None: as the machine trusts


class EndpointTokens(_Provider):
    """Asks a token endpoint (RFC 6749, section 4.4), again when the token before is nearly over."""

    def __init__(self, ask: ClientCredentials, extensions: Mapping[str, str]) -> None:
        super().__init__(extensions)
        self._ask = ask
        self._known: tuple[str, float] = ("", 0.0)  # a token and when it ends, by time.monotonic()

    async def token(self) -> str:
        """Raises: NoToken"""
        token, end_s = self._known
        if time.monotonic() + _SPARE_S < end_s:
            return token
        # Two threads that ask at once get a token each: both are good.
        token, good_for_s = await self._fetched()
        self._known = (token, time.monotonic() + good_for_s)
        return token

    async def _fetched(self) -> tuple[str, float]:
        import aiohttp  # a quarter of what `stretto run` would import, and few need it there

        ask = self._ask
        form = {"grant_type": "client_credentials", **({"scope": " ".join(ask.scopes)} if ask.scopes else {})}
        # As RFC 6749 says in section 2.3.1.
        pair = f"{quote_plus(ask.client_id)}:{quote_plus(ask.secret())}"
        headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        where = ask.token_url.partition("?")[0]
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
                session.post(
                    ask.token_url,
                    data=form | dict(ask.parameters),
                    headers=headers,
                    ssl=True if ask.tls is None else ask.tls,
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.status != 200:
                    raise NoToken(f"{where} gives no token: status {answer.status}")
                if (answer.content_length or 0) > _ANSWER_BYTES_MAX:
                    raise NoToken(f"{where} gives no token: its answer has {answer.content_length} bytes")
                found = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as err:
            raise NoToken(f"{where} gives no token: {type(err).__name__}: {err}") from err
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not token or not token.isprintable():
            raise NoToken(f"{where} gives no token: its answer has no access_token")
        return token, _seconds(found.get("expires_in"))


def _seconds(stated: object) -> float:
    try:
        return float(stated)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return _GOOD_FOR_S
