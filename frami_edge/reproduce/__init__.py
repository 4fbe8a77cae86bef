"""Tables like the paper's: which cells there are, running them one after another, and the table that comes of it."""
