"""Traffic that somebody recorded: read from flow files, HAR, access logs and JSON lines, and written by `banyan capture`."""
