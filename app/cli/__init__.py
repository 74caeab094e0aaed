"""The command `stretto`. Begin with `main.py`."""
