"""Whatever happens in whatever order, a query finds every span of the topic that was consumed exactly once."""

from hypothesis import settings

from tests.helpers.examples import examples
from tests.helpers.live.live_machine import LiveMachine

LiveMachine.TestCase.settings = settings(max_examples=examples(9), stateful_step_count=30, deadline=None)
TestLiveMachine = LiveMachine.TestCase
