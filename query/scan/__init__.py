"""Reads sources: columns of spans, traces that several sources share, statistics and progress."""
