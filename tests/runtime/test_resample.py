"""Resampling against torchaudio."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frami_edge._torchaudio import torchaudio
from frami_edge.runtime.errors import FramiError
from frami_edge.runtime.resample import BLOCK, resample

RATES = [(44100, 16000), (48000, 16000), (8000, 16000), (22050, 16000), (16000, 44100), (11025, 8000), (96000, 8000),
         (16000, 15999)]


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)


def oracle(wave: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    # in float64: in float32 torchaudio's own filters are up to 3e-5 off
    return torchaudio.functional.resample(torch.from_numpy(wave).double(), from_rate, to_rate).numpy()


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES[:-1])
def test_equal_to_torchaudio(from_rate: int, to_rate: int) -> None:
    wave = noise(from_rate // 2 + 7)
    resampled, expected = resample(wave, from_rate, to_rate), oracle(wave, from_rate, to_rate)
    assert resampled.shape == expected.shape
    assert resampled.dtype == np.float32
    assert np.abs(resampled - expected).max() < 2e-6


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(RATES[:-1]), st.integers(1, 2000))
def test_equal_to_torchaudio_at_any_length(rates: tuple[int, int], samples: int) -> None:
    resampled, expected = resample(noise(samples), *rates), oracle(noise(samples), *rates)
    assert resampled.shape == expected.shape
    assert np.abs(resampled - expected).max() < 1e-5


def test_close_to_torchaudio_in_float32() -> None:
    wave = noise(44100)
    single = torchaudio.functional.resample(torch.from_numpy(wave), 44100, 16000).numpy()
    assert np.abs(resample(wave, 44100, 16000) - single).max() < 5e-5


def test_blocks_join_without_a_seam() -> None:
    wave = noise(3 * BLOCK)
    resampled = resample(wave, 16000, 8000)
    assert len(resampled) > BLOCK
    assert np.abs(resampled - oracle(wave, 16000, 8000)).max() < 1e-5


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
def test_a_sine_stays_the_same_sine(from_rate: int, to_rate: int) -> None:
    def sine(rate: int) -> np.ndarray:
        return np.sin(2 * np.pi * 440 / rate * np.arange(rate))

    resampled = resample(sine(from_rate), from_rate, to_rate)
    inner = slice(to_rate // 10, -to_rate // 10)  # the borders hear the silence around
    # the filter's ripple; its gain at 440 Hz is not exactly one
    assert np.abs(resampled[inner] - sine(to_rate)[inner]).max() < 5e-3


def test_what_lies_above_the_new_band_is_gone() -> None:
    wave = np.sin(2 * np.pi * 7000 / 16000 * np.arange(16000))
    assert np.abs(resample(wave, 16000, 8000)[100:-100]).max() < 0.02


def test_nothing_to_do() -> None:
    wave = noise(100)
    np.testing.assert_array_equal(resample(wave, 16000, 16000), wave)
    assert len(resample(np.zeros(0), 8000, 16000)) == 0


def test_whole_rates_may_be_floats() -> None:
    """As numpy gives them, and some readers of files."""
    wave = noise(100)
    np.testing.assert_array_equal(resample(wave, np.float64(44100), 16000.0), resample(wave, 44100, 16000))
    np.testing.assert_array_equal(resample(wave, 16000.0, 16000), wave)


@pytest.mark.parametrize("rates", [(0, 16000), (16000, -1), (16000, 0.5), (float("nan"), 16000), (16000, float("inf"))])
def test_impossible_rates_are_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(FramiError, match="Hz"):
        resample(noise(10), *rates)
