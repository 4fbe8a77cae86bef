"""Latency: warm calls of several contenders in turn, and the percentiles that their number carries."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

PERCENTILES = (50, 90, 95, 99)
DRIFT_RUNS = 40  # from here on the first quarter can be compared with the last


@dataclass(frozen=True)
class Warm:
    """Warm calls of one contender, in milliseconds."""

    n: int
    mean_ms: float
    percentiles_ms: dict[str, float]  # "p50", ...; only those that n carries
    drift: float | None  # median of the last quarter over that of the first; None for few calls

    @property
    def median_ms(self) -> float:
        return self.percentiles_ms["p50"]


def interleave(contenders: Sequence[Callable[[], object]], *, runs: int, warmup: int,
               limit_seconds: float) -> list[Array]:
    """Time the contenders in turn, so that a slow spell of the machine meets all of them alike.

    The order rotates from round to round: none always follows the same other.

    Args:
        contenders: calls without arguments.
        runs: rounds wanted.
        warmup: rounds before them that do not count.
        limit_seconds: no further round starts after this time; at least one is run.

    Returns:
        milliseconds of each contender, (rounds,), in the order of the calls.
    """
    for _ in range(warmup):
        for call in contenders:
            call()
    taken: list[list[float]] = [[] for _ in contenders]
    started = time.perf_counter()
    for done in range(runs):
        for turn in range(len(contenders)):
            index = (turn + done) % len(contenders)
            before = time.perf_counter()
            contenders[index]()
            taken[index].append(1000 * (time.perf_counter() - before))
        if time.perf_counter() - started > limit_seconds:
            break
    return [np.array(milliseconds) for milliseconds in taken]


def summarise(milliseconds: Array) -> Warm:
    """The figures of one contender's calls (n,), n at least 1."""
    quarter = len(milliseconds) // 4
    drift = None
    if len(milliseconds) >= DRIFT_RUNS:
        drift = float(np.median(milliseconds[-quarter:]) / np.median(milliseconds[:quarter]))
    percentiles = {f"p{percent}": float(np.percentile(milliseconds, percent))
                   for percent in PERCENTILES if len(milliseconds) >= fewest_calls(percent)}
    return Warm(len(milliseconds), float(milliseconds.mean()), percentiles, drift)


def fewest_calls(percent: int) -> int:
    """How many calls a percentile needs: one call in expectation beyond it. The median needs one call."""
    return 1 if percent == 50 else math.ceil(100 / (100 - percent))
