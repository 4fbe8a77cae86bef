"""Resampling of a stream: whatever the blocks, exactly what the whole signal gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frami_edge.runtime.errors import FramiError
from frami_edge.runtime.resample import Resampler, resample

RATES = [(44100, 16000), (48000, 16000), (8000, 16000), (16000, 44100), (11025, 8000), (96000, 8000), (16000, 16000)]


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(RATES), st.lists(st.one_of(st.integers(0, 5), st.integers(0, 30000)), max_size=8))
def test_any_blocks_give_the_samples_of_the_whole(rates: tuple[int, int], blocks: list[int]) -> None:
    wave = noise(sum(blocks))
    resampler = Resampler(*rates)
    parts = [resampler.feed(block) for block in np.split(wave, np.cumsum(blocks)[:-1])] if blocks else []
    joined = np.concatenate([*parts, resampler.flush()])
    np.testing.assert_array_equal(joined, resample(wave, *rates))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RATES), st.integers(1, 40000), st.data())
def test_a_part_is_made_of_the_inputs_that_it_names(rates: tuple[int, int], samples: int, data: st.DataObject) -> None:
    wave, resampler = noise(samples), Resampler(*rates)
    length = resampler.length(samples)
    begin = data.draw(st.integers(0, length))
    end = data.draw(st.integers(begin, length))
    first, last = resampler.inputs(begin, end)
    part = resampler.part(wave[first:last], first, samples, begin, end)
    np.testing.assert_array_equal(part, resample(wave, *rates)[begin:end])


def test_little_is_held_back_and_nothing_kept() -> None:
    resampler = Resampler(44100, 16000)
    given = sum(len(resampler.feed(noise(441))) for _ in range(500))  # 5 s
    assert 5 * 16000 - given < 16  # 1 ms
    assert len(resampler._kept) < 441


@pytest.mark.parametrize("rates", [(0, 16000), (16000, -1), (44100.5, 16000), (16000, 1), (2**31, 16000)])
def test_impossible_rates_are_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(FramiError, match="Hz"):
        Resampler(*rates)
