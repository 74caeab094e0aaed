"""All targets, by name."""

from typing import Final

from tests.fuzz import ask, config, receive, storage
from tests.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {
    target.name: target for module in (receive, ask, storage, config) for target in module.TARGETS
}
