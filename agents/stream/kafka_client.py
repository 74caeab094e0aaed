"""Which Kafka, and how a client says who it is: the one place that makes the arguments of Kafka's clients.

Faust's consumers, aiokafka's producers, consumers and admin clients all take them from `KafkaClient`.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

# Kafka does not let this client in, and will not the next time either.
REFUSALS: Final = (SaslAuthenticationFailed, UnsupportedSaslMechanismError, IllegalSaslStateError)
# The broker may have to ask somebody else who the client is.
_CONNECT_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Sasl:
    """How a client says who it is. mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER

    password: reads it. Raises: OSError. token: of OAUTHBEARER
    """

    mechanism: str
    username: str = ""
    password: Callable[[], str] = field(default=str, repr=False)
    token: AbstractTokenProvider | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class KafkaClient:
    """brokers: each host:port. tls: None: no TLS. sasl: None: nobody asks who we are"""

    brokers: Sequence[str]
    tls: ssl.SSLContext | None = None
    sasl: Sasl | None = None

    @classmethod
    def plain(cls, *brokers: str) -> Self:
        """Without TLS and SASL."""
        return cls(brokers)

    def __str__(self) -> str:
        return ", ".join(self.brokers)

    @property
    def protocol(self) -> str:
        """Kafka's name of how connections are secured: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        transport = "PLAINTEXT" if self.tls is None else "SSL"
        return transport if self.sasl is None else f"SASL_{transport}"

    def arguments(self) -> dict[str, Any]:
        """Of any client of aiokafka. Raises: OSError if a file with a secret cannot be read"""
        return {"bootstrap_servers": list(self.brokers), **self._security()}

    def _security(self) -> dict[str, Any]:
        found: dict[str, Any] = {"security_protocol": self.protocol, "ssl_context": self.tls}
        if self.sasl is None:
            return found
        found["sasl_mechanism"] = self.sasl.mechanism
        if self.sasl.token is not None:
            return found | {"sasl_oauth_token_provider": self.sasl.token}
        return found | {"sasl_plain_username": self.sasl.username, "sasl_plain_password": self.sasl.password()}

    async def reach(self) -> None:
        """Returns when one broker has accepted a connection, and knows who we are.

        aiokafka's clients log why they cannot connect, once for each attempt, and do not say it to their caller.
        Raises: OSError, KafkaError, TimeoutError: of the last broker; one of REFUSALS if it does not let us in
        """
        failure: BaseException = OSError("no brokers are named")
        for broker in self.brokers:
            host, _, port = broker.rpartition(":")
            try:
                security = self._security()
                async with asyncio.timeout(_CONNECT_MS / 1000):
                    connection = await create_conn(
                        host.strip("[]"), int(port), request_timeout_ms=_CONNECT_MS, **security
                    )
            except (OSError, TimeoutError, KafkaError) as err:
                failure = err
                continue
            connection.close()
            return
        raise failure
