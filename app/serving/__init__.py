"""Sockets, and who may use them: servers, TLS, tokens, limits of connections, the ring pages' facts."""
