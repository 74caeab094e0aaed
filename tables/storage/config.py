"""Where blocks are stored, and the limits of the requests for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Backend = Literal["local", "s3", "gcs", "azure"]


@dataclass(frozen=True, slots=True)
class Retry:
    """How a request is repeated: after errors 5xx and 429, lost connections and timeouts. Waits grow, with jitter.

    max_attempts: the first one included
    """

    max_attempts: int = 4
    backoff_initial_s: float = 0.1
    backoff_max_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Hedging:
    """A second request for a read that takes long: the first answer counts, and the other request is cancelled.

    at_s: seconds after which the next request starts; 0: never. up_to: most requests for a read, the first included
    """

    at_s: float = 0.0
    up_to: int = 2


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where blocks are stored.

    place: a folder for `local`; bucket or container for the others
    prefix: path inside the bucket
    options: obstore's configuration of the backend (endpoint, region, keys …)
    put_options: obstore's arguments of each write (tags, attributes)
    read_timeout_s: for a read with its retries and hedged requests; write_timeout_s: for a write or delete, which may
        take longer, because nobody waits for it
    concurrent_requests_max: requests in flight; others wait
    """

    backend: Backend
    place: str
    prefix: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    put_options: Mapping[str, Any] = field(default_factory=dict)
    read_timeout_s: float = 10.0
    write_timeout_s: float = 60.0
    concurrent_requests_max: int = 100
    retry: Retry = Retry()
    hedging: Hedging = Hedging()

    @property
    def where(self) -> str:
        """The storage as errors name it."""
        return f"{self.backend} storage {self.place}"
