"""The operators that compare, over numpy arrays and over Arrow's."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc

Comparators = dict[str, Callable[[Any, Any], Any]]

# Two arrays, or an array and a number → a truth value for each place.
NUMPY: Final[Comparators] = {
    "=": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
# The same for what numpy has no arrays of; null where one of both is null.
ARROW: Final[Comparators] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
# `a op b` is `b MIRRORED[op] a`.
MIRRORED: Final = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
