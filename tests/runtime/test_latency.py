"""Turns, limits and percentiles."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frami_edge.runtime import latency
from frami_edge.runtime.latency import fewest_calls, interleave, summarise, times_as_fast


@pytest.mark.parametrize(("n", "carried"), [
    (1, ["p50"]), (9, ["p50"]), (10, ["p50", "p90"]), (19, ["p50", "p90"]), (20, ["p50", "p90", "p95"]),
    (99, ["p50", "p90", "p95"]), (100, ["p50", "p90", "p95", "p99"]),
])
def test_only_percentiles_that_n_carries(n: int, carried: list[str]) -> None:
    assert list(summarise(np.arange(1.0, n + 1)).percentiles_ms) == carried


@given(st.sampled_from([90, 95, 99]))
def test_one_call_is_expected_beyond_a_percentile(percent: int) -> None:
    assert fewest_calls(percent) * (100 - percent) / 100 == pytest.approx(1)


def test_the_figures() -> None:
    warm = summarise(np.arange(1.0, 102.0))
    assert (warm.n, warm.mean_ms, warm.median_ms) == (101, 51.0, 51.0)
    assert warm.percentiles_ms == {"p50": 51.0, "p90": 91.0, "p95": 96.0, "p99": 100.0}


def test_drift_is_the_last_quarter_over_the_first() -> None:
    assert summarise(np.repeat([2.0, 9.0, 9.0, 3.0], 10)).drift == pytest.approx(1.5)
    assert summarise(np.ones(39)).drift is None


def test_every_contender_follows_every_other_equally_often() -> None:
    """What a call leaves in the caches is part of the next one's time: nobody may have a neighbour of his own."""
    calls: list[str] = []
    rounds = 2000
    taken = interleave([lambda name=name: calls.append(name) for name in "abcd"], runs=rounds, warmup=2,
                       limit_seconds=60)
    assert [len(milliseconds) for milliseconds in taken] == [rounds] * 4 and len(calls) == 4 * (2 + 2 * rounds)
    timed = calls[9::2]
    assert calls[8::2] == timed  # each follows one of its own that is not timed
    assert all(sorted(timed[at : at + 4]) == list("abcd") for at in range(0, len(timed), 4))
    pairs = Counter(itertools.pairwise(timed))
    for one, other in itertools.permutations("abcd", 2):  # each in a third of its calls, three deviations at most off
        assert abs(pairs[one, other] - rounds / 3) < 0.1 * rounds / 3 + 3 * math.sqrt(rounds * 2 / 9)


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of the measurement on, which else stands still: real time would be that of the machine too."""
    now = [0.0]

    def elapse(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return elapse


def test_times_belong_to_their_contender(sleep: Callable[[float], None]) -> None:
    slow, fast = interleave([lambda: sleep(0.02), lambda: sleep(0.001)], runs=4, warmup=0, limit_seconds=60)
    np.testing.assert_allclose(slow, [20] * 4)
    np.testing.assert_allclose(fast, [1] * 4)


def test_the_clock_is_a_real_one() -> None:
    (taken,) = interleave([lambda: time.sleep(0.02)], runs=2, warmup=0, limit_seconds=60)
    assert taken.min() >= 20


@pytest.mark.parametrize("runs", [1000, None])
def test_the_limit_ends_the_rounds(runs: int | None, sleep: Callable[[float], None]) -> None:
    (taken,) = interleave([lambda: sleep(0.02)], runs=runs, warmup=9, limit_seconds=0.05)
    assert len(taken) == 2
    (taken,) = interleave([lambda: sleep(9)], runs=runs, warmup=0, limit_seconds=0.05)
    assert len(taken) == 1


def test_the_interval_of_the_median_covers_it_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = summarise(rng.exponential(1.0, 50)).median_interval_ms
        covered += low <= np.log(2) <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_few_calls_carry_no_interval() -> None:
    few = np.arange(1.0, 6.0)
    assert summarise(few).median_interval_ms is None
    assert times_as_fast(2 * few, few) == (2.0, None)


def test_a_spell_that_met_both_is_no_difference_between_them() -> None:
    rng = np.random.default_rng(1)
    spell = np.repeat([1.0, 3.0], 50)  # half of the rounds met a busy machine
    mine = 10 * spell * rng.uniform(0.99, 1.01, 100)
    ratio, interval = times_as_fast(2 * spell * 10 * rng.uniform(0.99, 1.01, 100), mine)
    assert interval is not None
    assert 1.9 < interval[0] <= ratio <= interval[1] < 2.1
