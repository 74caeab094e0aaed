"""The MCP server at /api/mcp: tools for language models over the same backend, rules and limits as the HTTP API."""
