"""`stretto blocks`: what lies in storage, without a running server."""
