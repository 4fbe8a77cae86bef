"""Errors and exit codes, shared with the device side (which imports nothing of the rest)."""

from frami_edge.runtime.errors import (
    EXIT_CANNOT_RUN,
    EXIT_CHECK_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    FramiError,
    nearest,
)

__all__ = ["EXIT_CANNOT_RUN", "EXIT_CHECK_FAILED", "EXIT_OK", "EXIT_USAGE", "FramiError", "nearest"]
