"""Recipes that ship with the package, one TOML file each; installed as ``frami_edge.recipes``."""
