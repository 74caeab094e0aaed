"""A trace by its id that lies with several processes."""
