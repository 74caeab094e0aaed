"""Sockets and access: TLS, tokens, tenants, HTTP/2, connection limits. Knows no endpoint."""
