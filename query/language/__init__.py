"""TraceQL text → a checked syntax tree. Begin with `parse.py`; `ast.py` has the whole language."""
