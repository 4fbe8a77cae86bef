"""Smoothing of probabilities over successive windows: one window is easily mistaken, several seldom are."""

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from frami_edge.runtime.errors import EXIT_USAGE, FramiError, nearest

Array = np.ndarray[Any, np.dtype[Any]]

Smoother = Callable[[Array], Array]  # probabilities of the next window (classes,) -> smoothed ones (classes,)
LONGEST = 3600  # seconds
KINDS = ("exponential", "mean", "none")


def exponential(seconds: float, hop: float) -> Smoother:
    """s_k = s_{k-1} + (1 - exp(-hop / seconds)) (p_k - s_{k-1}), and s_0 = p_0.

    ``seconds`` is the time constant: after it, 63 % of a change has arrived, whatever the hop.
    """
    share = 1 - math.exp(-hop / seconds)
    last: Array | None = None

    def smooth(probabilities: Array) -> Array:
        nonlocal last
        last = probabilities if last is None else last + share * (probabilities - last)
        return last

    return smooth


def mean(seconds: float, hop: float) -> Smoother:
    """The mean of the windows that began in the last ``seconds``, at least one; of fewer at the start."""
    kept: deque[Array] = deque(maxlen=max(1, round(seconds / hop)))

    def smooth(probabilities: Array) -> Array:
        kept.append(probabilities)
        average: Array = np.mean(kept, axis=0)
        return average

    return smooth


def smoother(kind: str, seconds: float, hop: float) -> Smoother | None:
    """The smoother of a name in ``KINDS``; None for ``none``."""
    if kind not in KINDS:
        raise FramiError(f"There is no smoothing '{kind}'.", nearest(kind, list(KINDS)), exit_code=EXIT_USAGE)
    if not 0 < seconds <= LONGEST:
        raise FramiError(f"Cannot smooth over {seconds:g} s.",
                         f"Give seconds above 0, {LONGEST} at most, or --smooth none.",
                         exit_code=EXIT_USAGE)
    return {"exponential": exponential, "mean": mean}[kind](seconds, hop) if kind != "none" else None
