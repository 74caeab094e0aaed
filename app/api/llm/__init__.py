"""Answers in few words, for language models: Tempo's `application/vnd.grafana.llm`, and shorter ones for MCP."""
