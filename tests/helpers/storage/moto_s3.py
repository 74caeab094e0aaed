"""An S3 on loopback, in this process: moto's server, with one bucket."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection

from moto.server import ThreadedMotoServer

from tables.storage.object_store import ObjectStore, StorageConfig

BUCKET, KEY, SECRET, REGION = "bucket", "key", "secret", "us-east-1"


@dataclass(frozen=True, slots=True)
class MotoS3:
    """The server's URL, and how clients reach the bucket."""

    url: str

    @property
    def iceberg(self) -> dict[str, str]:
        """Properties for pyiceberg's access."""
        keys = {"s3.access-key-id": KEY, "s3.secret-access-key": SECRET}
        return {"s3.endpoint": self.url, "s3.region": REGION, **keys}

    @property
    def polars(self) -> dict[str, str]:
        """Options for polars' own access."""
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        return {"aws_endpoint_url": self.url, "aws_region": REGION, "aws_allow_http": "true", **keys}

    def store(self, prefix: str = "") -> ObjectStore:
        options = {
            "endpoint": self.url,
            "region": REGION,
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        }
        return ObjectStore(StorageConfig("s3", BUCKET, prefix, options))


@contextmanager
def moto_s3() -> Iterator[MotoS3]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        client = HTTPConnection(host, port, timeout=10)
        client.request("PUT", f"/{BUCKET}")
        assert client.getresponse().status == 200
        client.close()
        yield MotoS3(f"http://{host}:{port}")
    finally:
        server.stop()
