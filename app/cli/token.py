"""`stretto token`: creates a token, and its hash for the file that `server.auth_file` names."""

import hashlib
import secrets
import sys
from typing import Final

_BYTES: Final = 32


def main() -> int:
    """Prints the token and its hash, one per line; stores neither."""
    token = secrets.token_urlsafe(_BYTES)
    sys.stdout.write(f"token: {token}\nhash: sha256:{hashlib.sha256(token.encode()).hexdigest()}\n")
    return 0
