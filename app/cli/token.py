"""`stretto token`: a new token, and what to write into the file that `server.auth_file` names."""

import hashlib
import secrets
import sys
from typing import Final

_BYTES: Final = 32


def main() -> int:
    """Prints the token and its hash, a line each; keeps neither."""
    token = secrets.token_urlsafe(_BYTES)
    sys.stdout.write(f"token: {token}\nhash: sha256:{hashlib.sha256(token.encode()).hexdigest()}\n")
    return 0
