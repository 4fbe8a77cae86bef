"""What a comparison of methods can claim: mean and deviation over seeds, and a paired bootstrap. numpy alone."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from frami_edge.errors import FramiError

Array = np.ndarray[Any, np.dtype[Any]]

RESAMPLES = 10_000
CHUNK = 500  # resamples at a time: what bounds the memory at thousands of clips


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


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); None for one value, which has none."""
    if not values:
        raise ValueError("no values")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def paired_bootstrap(ours: Array, theirs: Array, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """Bootstrap of the difference in accuracy, agreement or divergence (Efron 1979), over clips and seeds at once.

    A resample draws clips with replacement, the same ones for both methods, and seeds with replacement, the same for
    both: what is common to a clip, or to the initialisation of a seed, cancels. The interval holds the middle 95 % of
    the resampled differences; p is twice the share of them on the far side of zero.

    With few seeds this is optimistic: resampling n seeds shows (n - 1) / n of their variance.

    Args:
        ours, theirs: which clips were right, or as the teacher has them, bool (seeds, clips); or a figure of each
            clip. One row is taken for every seed of the other.

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
    return Difference(float(gains.mean()), float(low), float(high), min(1.0, 2 * tail / (resamples + 1)), *gains.shape)


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


@lru_cache(maxsize=2)  # drawing takes most of the time, and the comparisons of a table have the same size
def _drawn(seeds: int, clips: int, resamples: int, seed: int) -> list[tuple[Array, Array]]:
    """How often each row and each column is drawn, (size, seeds) and (size, clips), in parts of the resamples."""
    generator, drawn = np.random.default_rng(seed), []
    for first in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - first)
        rows = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size)
        columns = generator.multinomial(clips, np.full(clips, 1 / clips), size)
        drawn.append((rows, columns.astype(np.uint16)))  # 60 MB for 3000 clips; no clip comes 65 536 times
    return drawn
