"""The bootstrap says what theory says where theory has an answer."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frami_edge.errors import FramiError
from frami_edge.statistics import EXACT, mean_sd, paired_bootstrap, sign_flips, spearman


def test_mean_and_deviation() -> None:
    assert mean_sd([476, 466, 468]) == (470, pytest.approx(math.sqrt(28)))
    assert mean_sd([3.0]) == (3.0, None)
    with pytest.raises(ValueError, match="no values"):
        mean_sd([])


def test_rank_correlation() -> None:
    # the formula 1 - 6 sum d^2 / (n (n^2 - 1)): d = 1, 1, 1, 1, 0
    assert spearman([10, 20, 30, 40, 50], [2, 1, 4, 3, 9]) == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert spearman([1, 2, 2, 3], [1, 2.5, 2.5, 9]) == pytest.approx(1)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
    with pytest.raises(ValueError, match="same length"):
        spearman([1, 2], [1, 2, 3])


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=20))
def test_rank_correlation_is_that_of_ranks_alone(pairs: list[tuple[int, int]]) -> None:
    first, second = (list(values) for values in zip(*pairs, strict=True))
    found = spearman(first, second)
    assert math.isnan(found) == (len(set(first)) == 1 or len(set(second)) == 1)
    assert math.isnan(found) or -1.0000001 < found < 1.0000001
    assert spearman([value**3 for value in first], second) == pytest.approx(found, nan_ok=True)
    assert spearman(second, [-value for value in first]) == pytest.approx(-found, nan_ok=True)


def test_the_interval_is_that_of_the_normal_approximation() -> None:
    """500 clips, 60 gained and 35 lost: the variance of the mean gain is known."""
    theirs = np.arange(500) < 400
    ours = theirs.copy()
    ours[400:460] = True
    ours[:35] = False
    found = paired_bootstrap(ours, theirs)
    gain, sd = 25 / 500, math.sqrt(95 / 500 - (25 / 500) ** 2) / math.sqrt(500)
    assert found.mean == pytest.approx(gain) and (found.seeds, found.clips) == (1, 500)
    assert found.low == pytest.approx(gain - 1.96 * sd, abs=0.1 * sd)
    assert found.high == pytest.approx(gain + 1.96 * sd, abs=0.1 * sd)
    two_sided = math.erfc(gain / sd / math.sqrt(2))
    assert found.p == pytest.approx(two_sided, abs=0.005)


def test_pairing_counts() -> None:
    """A clip that is easy for both is no evidence: the same gain with fewer changed clips is more certain."""
    theirs = np.arange(400) < 200
    few, many = theirs.copy(), theirs.copy()
    few[200:210] = True
    many[200:300] = True
    many[:90] = False
    assert paired_bootstrap(few, theirs).mean == paired_bootstrap(many, theirs).mean == 10 / 400
    assert paired_bootstrap(few, theirs).p < 0.001 < 0.2 < paired_bootstrap(many, theirs).p


def test_seeds_that_differ_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    theirs = np.repeat(generator.random((1, 500)) < 0.8, 4, axis=0)
    shares = np.array([0.6, 0.95, 0.7, 0.95])[:, None]
    ours = generator.random((4, 500)) < shares
    even = generator.random((4, 500)) < shares.mean()
    wide, narrow = paired_bootstrap(ours, theirs), paired_bootstrap(even, theirs)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert wide == paired_bootstrap(ours, theirs[:1])  # one row stands for every seed


def test_no_difference_is_seldom_found_where_there_is_none() -> None:
    generator = np.random.default_rng(1)
    found = [paired_bootstrap(*(generator.random((2, 1, 200)) < 0.8), resamples=500).p < 0.05 for _ in range(400)]
    assert 0.02 < np.mean(found) < 0.09


@settings(max_examples=40, deadline=None)
@given(arrays(bool, st.tuples(st.just(2), st.integers(1, 4), st.integers(1, 30))))
def test_turning_the_comparison_around_turns_the_sign(both: np.ndarray) -> None:
    one, other = paired_bootstrap(both[0], both[1], 400), paired_bootstrap(both[1], both[0], 400)
    assert one.mean == -other.mean and one.p == other.p
    assert (one.low, one.high) == (pytest.approx(-other.high), pytest.approx(-other.low))
    assert one.low - 1e-12 <= np.clip(one.mean, one.low, one.high) <= one.high and -1 <= one.low <= one.high <= 1
    assert 0 < one.p <= 1
    same = paired_bootstrap(both[0], both[0], 400)
    assert same[:4] == (0, 0, 0, 1)


@pytest.mark.parametrize("ours,theirs", [((1, 3), (1, 4)), ((2, 3), (3, 3)), ((1, 0), (1, 0))])
def test_what_cannot_be_paired(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    with pytest.raises(FramiError, match="cannot be paired"):
        paired_bootstrap(np.zeros(ours, bool), np.zeros(theirs, bool))


@pytest.mark.parametrize("gains,p", [([1.0], 1.0), ([1.0, 2.0, 3.0], 0.25), ([1.0] * 6, 2 / 64), ([0.0, 0.0], 1.0),
                                     ([3.0, -1.0], 1.0), ([1.0, 1.0, -1.0], 1.0), ([4.0, 4.0, 4.0, -1.0], 4 / 16)])
def test_signs_are_counted(gains: list[float], p: float) -> None:
    assert sign_flips(gains) == sign_flips([-gain for gain in gains]) == pytest.approx(p)


@settings(max_examples=20, deadline=None)
@given(arrays(float, st.integers(EXACT - 3, EXACT), elements=st.floats(-1, 1)))
def test_drawn_signs_come_close_to_all_of_them(gains: np.ndarray) -> None:
    padded = [*gains, *np.zeros(4)]  # units without a gain change nothing but how the signs are found
    assert sign_flips(padded) == pytest.approx(sign_flips(gains.tolist()), abs=0.02)
    assert sign_flips(padded) > 0


def test_takes_of_one_word_are_no_trials_of_their_own() -> None:
    """Ten words, fifty takes of each that are right or wrong together: over clips half of nothing is a finding."""
    generator = np.random.default_rng(0)
    words = np.repeat(np.arange(10), 50)
    found = [paired_bootstrap(*(generator.normal(size=(2, 1, 10)).repeat(50, axis=2)), resamples=200, units=words)
             for _ in range(200)]
    assert np.mean([each.p < 0.05 for each in found]) > 0.5
    assert 0.01 < np.mean([each.p_units < 0.05 for each in found]) < 0.1


def test_units_are_told_apart_by_their_names_alone() -> None:
    gains, words = np.arange(12.0).reshape(2, 6) - 3, ["a", "b", "a", "c", "b", "a"]
    nothing = np.zeros_like(gains)
    sums = [gains.mean(0)[[0, 2, 5]].sum(), gains.mean(0)[[1, 4]].sum(), gains.mean(0)[3]]
    order = [3, 5, 0, 1, 2, 4]
    found = paired_bootstrap(gains, nothing, 100, units=words)
    again = paired_bootstrap(gains[:, order], nothing, 100, units=[(words[index], 0) for index in order])
    assert found.p_units == pytest.approx(sign_flips(sums)) == pytest.approx(again.p_units)
    assert paired_bootstrap(gains, nothing, 100).p_units is None
    with pytest.raises(ValueError, match="zip"):
        paired_bootstrap(gains, nothing, 100, units=words[:-1])
