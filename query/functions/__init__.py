"""TraceQL's functions and comparisons over numpy and Arrow arrays, as tables: a function is one entry."""
