"""Processors: columns of spans → additions to series. Plain functions over Arrow and numpy."""
