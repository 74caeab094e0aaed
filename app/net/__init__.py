"""Sockets and who may use them: TLS, tokens, tenants, HTTP/2, limits of connections. Knows no endpoint."""
