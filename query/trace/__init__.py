"""One trace by its id, whole or in pages."""
