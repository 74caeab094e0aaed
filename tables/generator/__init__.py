"""Spans → the series of span metrics and service graphs, columnar: plain functions over Arrow and numpy."""
