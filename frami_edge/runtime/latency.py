"""Latency: warm calls of several contenders in turn, and the percentiles that their number carries."""

import itertools
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

PERCENTILES = (50, 90, 95, 99)
DRIFT_RUNS = 40  # from here on the first quarter can be compared with the last
INTERVAL_RUNS = 10  # from here on an interval of the median is given
SLICES = 10  # of a long run, each with its own median
RESAMPLES, MOST_DRAWN = 1000, 2000
CONFIDENCE = 95  # percent


@dataclass(frozen=True)
class Warm:
    """Warm calls of one contender, in milliseconds."""

    n: int
    mean_ms: float
    percentiles_ms: dict[str, float]  # "p50", ...; only those that n carries
    median_interval_ms: tuple[float, float] | None  # 95 %, bootstrap; None for few calls
    over_time_ms: list[float]  # medians of the tenths of the run, in their order; empty for few calls
    drift: float | None  # median of the last quarter over that of the first; None for few calls

    @property
    def median_ms(self) -> float:
        return self.percentiles_ms["p50"]


def interleave(contenders: Sequence[Callable[[], object]], *, runs: int | None, warmup: int,
               limit_seconds: float) -> list[Array]:
    """Time the contenders in turn, so that a slow spell of the machine meets all of them alike.

    Each timed call follows one of the same contender that is not timed, and each round is in an order of its own, drawn
    by a fixed seed: the caches are as its own last call left them, whatever else is measured. (In an order that only
    rotates everybody keeps his neighbours: a model of half a millisecond behind a matrix product took 1.2 times as long
    as a copy of it that was not.)

    Args:
        contenders: calls without arguments.
        runs: rounds wanted; None for as many as the time allows.
        warmup: rounds before them that do not count.
        limit_seconds: no further round starts after this time; at least one is run.

    Returns:
        milliseconds of each contender, (rounds,), in the order of the calls.
    """
    for _ in range(warmup):
        for call in contenders:
            call()
    taken: list[list[float]] = [[] for _ in contenders]
    order = random.Random(0)
    started = time.perf_counter()
    for _ in itertools.count() if runs is None else range(runs):
        for index in order.sample(range(len(contenders)), len(contenders)):
            contenders[index]()
            before = time.perf_counter()
            contenders[index]()
            taken[index].append(1000 * (time.perf_counter() - before))
        if time.perf_counter() - started > limit_seconds:
            break
    return [np.array(milliseconds) for milliseconds in taken]


def summarise(milliseconds: Array) -> Warm:
    """The figures of one contender's calls (n,), n at least 1."""
    n, quarter = len(milliseconds), len(milliseconds) // 4
    drift = None
    if len(milliseconds) >= DRIFT_RUNS:
        drift = float(np.median(milliseconds[-quarter:]) / np.median(milliseconds[:quarter]))
    percentiles = {f"p{percent}": float(np.percentile(milliseconds, percent))
                   for percent in PERCENTILES if n >= fewest_calls(percent)}
    interval = _interval(np.median(milliseconds[_resampled(n)], axis=1)) if n >= INTERVAL_RUNS else None
    over_time = [float(np.median(part)) for part in np.array_split(milliseconds, SLICES)] if n >= DRIFT_RUNS else []
    return Warm(n, float(milliseconds.mean()), percentiles, interval, over_time, drift)


def times_as_fast(reference: Array, milliseconds: Array) -> tuple[float, tuple[float, float] | None]:
    """Median of ``reference`` (n,) over that of ``milliseconds`` (n,), with its 95 % bootstrap interval.

    Rounds are drawn, the same ones for both: a slow spell of the machine that met both is no difference between them.
    """
    ratio = float(np.median(reference) / np.median(milliseconds))
    if len(reference) < INTERVAL_RUNS:
        return ratio, None
    rounds = _resampled(len(reference))
    return ratio, _interval(np.median(reference[rounds], axis=1) / np.median(milliseconds[rounds], axis=1))


def _resampled(n: int) -> Array:
    """Indices of the calls that each bootstrap sample draws, (resamples, n); the same ones every time."""
    # of a very long run fewer are drawn, or they would take gigabytes: that makes the interval wider, never narrower
    return np.random.default_rng(0).integers(0, n, (RESAMPLES, min(n, MOST_DRAWN)))


def _interval(estimates: Array) -> tuple[float, float]:
    edge = (100 - CONFIDENCE) / 2
    low, high = np.percentile(estimates, [edge, 100 - edge])
    return float(low), float(high)


def fewest_calls(percent: int) -> int:
    """How many calls a percentile needs: one call in expectation beyond it. The median needs one call."""
    return 1 if percent == 50 else math.ceil(100 / (100 - percent))
