"""The topic by which a consumer group elects its leader. Whoever makes topics needs its name, and not all of Faust."""

from typing import Final

# Of the topic whose only partition the leader of a consumer group has. The name is Faust's.
LEADER_TOPIC_END: Final = "-__assignor-__leader"
