"""What a comparison of methods can claim: mean and deviation over seeds, a paired bootstrap, signs. numpy alone."""

import itertools
import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from frami_edge.errors import FramiError

Array = np.ndarray[Any, np.dtype[Any]]

RESAMPLES = 10_000
CHUNK = 500  # resamples at a time: what bounds the memory at thousands of clips
EXACT = 14  # units whose signs are all gone through, 2**14 of them; of more, some are drawn


class Difference(NamedTuple):
    """How much more often one method is right, or agrees with the teacher, than another: shares, not per cent.

    Or by how many nats its KL divergence from the teacher is larger.
    """

    mean: float
    low: float  # of the 95 % interval
    high: float
    p: float  # two-sided; never below 2 / (resamples + 1)
    seeds: int
    clips: int
    p_units: float | None = None  # two-sided, over the signs of the units that clips belong to


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); None for one value, which has none."""
    if not values:
        raise ValueError("no values")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def paired_bootstrap(ours: Array, theirs: Array, resamples: int = RESAMPLES, seed: int = 0,
                     units: Sequence[Hashable] | None = None) -> Difference:
    """Bootstrap of the difference in accuracy, agreement or divergence (Efron 1979), over clips and seeds at once.

    A resample draws clips with replacement, the same ones for both methods, and seeds with replacement, the same for
    both: what is common to a clip, or to the initialisation of a seed, cancels. The interval holds the middle 95 % of
    the resampled differences; p is twice the share of them on the far side of zero.

    With few seeds this is optimistic: resampling n seeds shows (n - 1) / n of their variance.

    Args:
        ours, theirs: which clips were right, or as the teacher has them, bool (seeds, clips); or a figure of each
            clip. One row is taken for every seed of the other.
        units: what each clip is one of, (clips,). Fifty takes of one word by one voice are no fifty trials, and a
            method that gains by one confusion gains by all clips of a class; ``p_units`` is :func:`sign_flips` of the
            sums of each unit's gains, and so says whether the difference would be there with other words.

    Raises:
        FramiError: the two were not made with the same clips, or the same number of seeds.
    """
    ours, theirs = np.atleast_2d(np.asarray(ours, dtype=float)), np.atleast_2d(np.asarray(theirs, dtype=float))
    if ours.shape[1] != theirs.shape[1] or 0 in ours.shape or 0 in theirs.shape:
        raise FramiError(f"{ours.shape[1]} clips cannot be paired with {theirs.shape[1]}.")
    if len(ours) != len(theirs) and 1 not in (len(ours), len(theirs)):
        raise FramiError(f"{len(ours)} seeds cannot be paired with {len(theirs)}.")
    gains = ours - theirs  # (seeds, clips); of shares each -1, 0 or 1
    drawn = np.sort(_resampled_means(gains, resamples, seed))
    low, high = np.quantile(drawn, [0.025, 0.975])
    # counts with the observed one among them, so that p is never 0
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum())) + 1
    p_units = None if units is None else sign_flips(_sums(gains, units))
    return Difference(float(gains.mean()), float(low), float(high), min(1.0, 2 * tail / (resamples + 1)),
                      gains.shape[0], gains.shape[1], p_units)


def sign_flips(gains: Sequence[float], resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p of a sum as far from zero, if each of ``gains`` had either sign by chance (Fisher 1935).

    Exact up to :data:`EXACT` of them, and then never below 2 / 2**n; of more, ``resamples`` signs are drawn.
    """
    if len(gains) <= EXACT:
        flipped = np.array(list(itertools.product((-1.0, 1.0), repeat=len(gains)))) @ np.asarray(gains, dtype=float)
    else:
        signs = np.random.default_rng(seed).integers(2, size=(resamples, len(gains))) * 2.0 - 1
        flipped = np.append(signs @ np.asarray(gains, dtype=float), sum(gains))  # the observed one among them
    return float((np.abs(flipped) >= abs(sum(gains)) - 1e-9).mean())


def _sums(gains: Array, units: Sequence[Hashable]) -> list[float]:
    """The gains (seeds, clips) of each unit's clips, summed."""
    of_clips, sums = gains.mean(0).tolist(), dict[Hashable, float]()
    for unit, gain in zip(units, of_clips, strict=True):
        sums[unit] = sums.get(unit, 0.0) + gain
    return list(sums.values())


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation (Spearman 1904), ties sharing their mean rank; nan where one of the two is constant."""
    if len(first) != len(second) or len(first) < 2:
        raise ValueError("two sequences of the same length are needed, of at least two values")
    ranks = [_ranks(np.asarray(values, dtype=float)) for values in (first, second)]
    if any(np.ptp(each) == 0 for each in ranks):
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Array) -> Array:
    """Rank of each value, (n,): the number of smaller ones, plus half of those equal to it."""
    return (values[:, None] > values).sum(axis=1) + ((values[:, None] == values).sum(axis=1) - 1) / 2


def _resampled_means(gains: Array, resamples: int, seed: int) -> Array:
    """Means of ``gains`` (seeds, clips) over rows and columns drawn with replacement, (resamples,)."""
    # sums of whole numbers are exact, so that of shares a mean of zero is zero on both sides of the test
    return np.concatenate([((rows @ gains) * columns).sum(axis=1) / gains.size
                           for rows, columns in _drawn(*gains.shape, resamples, seed)])


@lru_cache(maxsize=16)  # drawing takes most of the time, and comparisons of one size share it
def _drawn(seeds: int, clips: int, resamples: int, seed: int) -> list[tuple[Array, Array]]:
    """How often each row and each column is drawn, (size, seeds) and (size, clips), in parts of the resamples."""
    generator, drawn = np.random.default_rng(seed), []
    for first in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - first)
        rows = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size)
        columns = generator.multinomial(clips, np.full(clips, 1 / clips), size)
        drawn.append((rows, columns.astype(np.uint16)))  # 60 MB for 3000 clips; no clip comes 65 536 times
    return drawn
