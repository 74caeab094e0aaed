"""Grafana's dashboards as code: `python -m tools.dashboards` writes docker/grafana/dashboards."""
