"""The web page: its files, and what it asks of the server beside Tempo's API."""
