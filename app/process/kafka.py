"""The settings of kafka → what all clients of Kafka are made with."""

from agents.stream.kafka_client import KafkaClient, Sasl
from agents.stream.kafka_tls import KafkaTls
from agents.stream.kafka_tokens import ClientCredentials, EndpointTokens, FileTokens, read_secret
from app.errors import StrettoError
from app.settings.sections.kafka import Kafka
from app.settings.sections.kafka_security import OAuth2
from app.settings.sections.kafka_security import Sasl as SaslSettings
from app.settings.sections.remote_write import TlsConfig


def kafka_client(kafka: Kafka) -> KafkaClient:
    """Brokers, TLS and SASL of the settings. Raises: StrettoError that names the setting whose file cannot be used"""
    try:
        tls = _tls(kafka.tls) if kafka.tls.enabled else None
        sasl = _sasl(kafka.sasl) if kafka.sasl.mechanism else None
        client = KafkaClient(kafka.address, tls, sasl)
        client.arguments()  # a file that is missing now is a mistake of who has written the settings
        if kafka.sasl.token_file:
            read_secret(kafka.sasl.token_file)
    except OSError as err:
        raise StrettoError(f"kafka.tls or kafka.sasl: {err}") from err
    return client


def _tls(config: TlsConfig) -> KafkaTls:
    return KafkaTls.of(
        ca_file=config.ca_file,
        cert_file=config.cert_file,
        key_file=config.key_file,
        server_name=config.server_name,
        verify=not config.insecure_skip_verify,
    )


def _sasl(config: SaslSettings) -> Sasl:
    if config.mechanism != "OAUTHBEARER":
        return Sasl(
            config.mechanism, config.username, _Secret(config.password.get_secret_value(), config.password_file)
        )
    if config.token_file:
        return Sasl(config.mechanism, token=FileTokens(config.token_file, config.extensions))
    return Sasl(config.mechanism, token=EndpointTokens(_client_credentials(config.oauth2), config.extensions))


def _client_credentials(config: OAuth2) -> ClientCredentials:
    return ClientCredentials(
        token_url=config.token_url,
        client_id=config.client_id,
        secret=_Secret(config.client_secret.get_secret_value(), config.client_secret_file),
        scopes=config.scopes,
        parameters={name: value.get_secret_value() for name, value in config.endpoint_params.items()},
        tls=_tls(config.tls_config),
    )


class _Secret:
    """Reads a secret: what the settings give, or else what the file holds now."""

    def __init__(self, given: str, file: str) -> None:
        self._given, self._file = given, file

    def __call__(self) -> str:
        """Raises: NoToken"""
        return read_secret(self._file) if self._file else self._given
