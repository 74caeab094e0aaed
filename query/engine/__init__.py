"""Spansets: which rows of the sources match, and the traces they make. Begin with `plan.py` and `evaluate.py`."""
