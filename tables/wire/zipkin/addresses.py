"""Addresses as Zipkin's binary encodings have them."""

import socket


def address_text(packed: bytes) -> bytes:
    """An address of 4 or 16 bytes as text; of another length: nothing."""
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed).encode()
    return socket.inet_ntop(socket.AF_INET6, packed).encode() if len(packed) == 16 else b""
