"""Who we are, for Faust. Apart from `KafkaClient`, since `stretto run` connects to Kafka without Faust: that takes as
long to import as all the rest.
"""

import ssl
from typing import Any

import faust
import faust.auth

from agents.stream.kafka_client import KafkaClient, Sasl


def credentials(client: KafkaClient) -> Any:
    """What Faust reads whenever it makes a consumer; None: neither TLS nor SASL"""
    if client.sasl is None:
        return None if client.tls is None else faust.SSLCredentials(client.tls)
    if client.sasl.token is not None:
        return faust.auth.OAuthCredentials(oauth_cb=client.sasl.token, ssl_context=client.tls)
    return _PasswordCredentials(client.sasl, client.tls)


class _PasswordCredentials(faust.SASLCredentials):  # type: ignore[misc]  # Faust has no types here
    """Reads the password each time that a consumer is made."""

    def __init__(self, sasl: Sasl, tls: ssl.SSLContext | None) -> None:
        self._password = sasl.password
        super().__init__(username=sasl.username, ssl_context=tls, mechanism=sasl.mechanism)

    @property
    def password(self) -> str:
        return self._password()

    @password.setter
    def password(self, _: object) -> None:
        """Faust's constructor sets it; it stays with its source."""
