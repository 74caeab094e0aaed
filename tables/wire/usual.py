"""Bodies in the form that clients usually send are read in a quicker way than the rest."""


class Unusual(Exception):  # noqa: N818  (says what it is)
    """A body that is not in that form; it may be right all the same."""
