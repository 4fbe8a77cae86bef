"""What the command line prints and parses; the work is done elsewhere."""
