"""Clients' messages in every protocol, and receivers for tests."""
