"""What functions take in their parentheses."""

from typing import Final, NamedTuple


class Signature(NamedTuple):
    """measures: a field or an expression comes first; numbers: further ones from 0 to 1 follow, at least one"""

    measures: bool
    fractions: bool = False


ANY_SPAN: Final = Signature(measures=False)
MEASURED: Final = Signature(measures=True)
QUANTILES: Final = Signature(measures=True, fractions=True)
