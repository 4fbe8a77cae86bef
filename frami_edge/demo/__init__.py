"""The teacher that ships with the package, for `frami-edge demo`."""
