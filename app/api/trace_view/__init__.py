"""A trace in the form that the web page draws: columns of numbers, and the ids of spans that match."""
