"""Small sound classifiers from a teacher's checkpoint, without recordings.

Importing this loads nothing heavy: see ``frami_edge.runtime`` for devices, ``frami_edge.cli`` for the commands.
"""

__version__ = "0.1.0"
