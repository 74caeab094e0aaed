"""A real Kafka by itself, with listeners that ask who a client is: SASL, TLS, client certificates."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from app.standalone import jars, kafka, maven
from app.standalone.child import Command
from tests.harness.ending import end
from tests.harness.ports import own_ports
from tests.helpers.tls import Authority

USER, PASSWORD = "stretto", "a pass-word; with 8% $"  # what files and JAAS must not trip over
_MIB: Final = 1 << 20
_STOP_S: Final = 15.0
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class SecureKafka:
    """As a context manager: started inside, stopped outside. `addresses` by what a listener asks for:

    sasl: PLAIN, SCRAM or an unsecured token, in the clear; sasl_tls: the same over TLS; tls: a client certificate
    """

    def __init__(self, folder: Path) -> None:
        """`folder` exists; data, log and certificates go there."""
        self.authority = Authority(folder / "ca", "kafka's authority")
        self._broker_pair = self.authority.issue("broker")
        self._folder = folder
        self.log = folder / "kafka.log"
        port, controller, *others = own_ports(5)
        names = ("sasl", "sasl_tls", "tls")
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, others, strict=True)}
        files = jars.ensure(
            jars.locked(), jars.cache_dir(os.environ, jars.kafka_version(jars.locked())), print, maven.fetch
        )
        self._broker = kafka.Broker(
            folder / "kafka", self.log, port, controller, tuple(files), 2, 8 * _MIB, retention_s=3600
        )
        self._process: subprocess.Popen[bytes] | None = None

    def _properties(self) -> Mapping[str, str]:
        pem = self._folder / "broker.pem"
        pem.write_text(self._broker_pair.key.read_text() + self._broker_pair.cert.read_text())
        found = kafka.properties(self._broker)
        listeners = ",".join(f"{name.upper()}://{address}" for name, address in self.addresses.items())
        found["listeners"] = f"{found['listeners']},{listeners}"
        found["listener.security.protocol.map"] = (
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,SASL_TLS:SASL_SSL,TLS:SSL"
        )
        found["inter.broker.listener.name"] = "PLAINTEXT"
        found |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(pem),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.cert),
            "listener.name.tls.ssl.client.auth": "required",
            # A client that goes on after its token has ended is cut off.
            "connections.max.reauth.ms": "0",
        }
        user, password = _quoted(USER), _quoted(PASSWORD)
        for listener in ("sasl", "sasl_tls"):
            prefix = f"listener.name.{listener}"
            found[f"{prefix}.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"
            found[f"{prefix}.plain.sasl.jaas.config"] = f"{_PLAIN} required user_{USER}={password};"
            for scram in ("scram-sha-256", "scram-sha-512"):
                found[f"{prefix}.{scram}.sasl.jaas.config"] = f"{_SCRAM} required username={user} password={password};"
            found[f"{prefix}.oauthbearer.sasl.jaas.config"] = (
                f'{_OAUTH} required unsecuredLoginStringClaim_sub="broker";'
            )
        return found

    def __enter__(self) -> Self:
        kafka.prepare(self._broker, self._properties())
        runtime = kafka.java()
        users = [f"SCRAM-SHA-{bits}=[name={USER},password={_quoted(PASSWORD)}]" for bits in (256, 512)]
        made = kafka.format_command(self._broker, runtime, os.environ)
        arguments = [argument for user in users for argument in ("--add-scram", user)]
        with self.log.open("ab") as log:
            subprocess.run([*made.argv, *arguments], env=made.env, stdout=log, stderr=log, check=True)
            self._process = _started(kafka.server_command(self._broker, runtime, os.environ), log.fileno())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._process is not None
        end(self._process, _STOP_S)


def _started(command: Command, log: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command.argv, env=command.env, stdout=log, stderr=log)


def unsecured_token(good_for_s: float = 3600.0) -> str:
    """As Kafka's own callback takes it where nothing is secured: a JSON Web Token without a signature."""
    now_s = time.time()
    parts = [{"alg": "none"}, {"sub": USER, "iat": now_s, "exp": now_s + good_for_s}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."
