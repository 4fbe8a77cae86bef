"""Durations as people type them."""

import re

from frami_edge.errors import EXIT_USAGE, FramiError

UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> int:
    """Seconds of a duration such as 90s, 10m or 1h30m."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    seconds = sum(int(value) * UNITS[unit] for value, unit in zip(parts.groups(), "hms", strict=True) if value) \
        if parts else 0
    if not seconds:
        raise FramiError(f"'{text}' is no duration.", "For example: --budget 10m, or 1h30m.", exit_code=EXIT_USAGE)
    return seconds
