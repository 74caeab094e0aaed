"""All targets, by name."""

from typing import Final

from tests.fuzz import ask, bodies, config, receive, storage
from tests.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {
    target.name: target for module in (receive, ask, bodies, storage, config) for target in module.TARGETS
}
