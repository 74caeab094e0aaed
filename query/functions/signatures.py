"""What functions take in their parentheses."""

from typing import Final, NamedTuple


class Arguments(NamedTuple):
    """measures: a field or an expression comes first; numbers: further ones from 0 to 1 follow, at least one"""

    measures: bool
    fractions: bool = False


ANY_SPAN: Final = Arguments(measures=False)
MEASURED: Final = Arguments(measures=True)
QUANTILES: Final = Arguments(measures=True, fractions=True)
