"""Tools: the command line, `explain`, traces."""
