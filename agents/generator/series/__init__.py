"""Tables of series: labels, counters, histograms and exemplars in columns."""
