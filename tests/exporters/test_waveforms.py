"""The sounds that golden vectors are made of."""

import numpy as np
import pytest

from frami_edge.card import Clip, MelSpec, TeacherCard
from frami_edge.exporters.waveforms import chirp, golden_waveforms, notes, sine


def card(rate: int, seconds: float = 1.0) -> TeacherCard:
    return TeacherCard(labels=("a", "b"), time_dependent=False, clip=Clip(sample_rate=rate, seconds=seconds),
                       frontend=MelSpec(f_max=rate / 2))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_all_are_exact_in_int16(rate: int) -> None:
    for wave in golden_waveforms(card(rate)).values():
        assert wave.dtype == np.float32
        assert np.abs(wave).max() <= 1
        np.testing.assert_array_equal(wave * 32768, np.round(wave * 32768))


def test_lengths_cover_what_breaks_front_ends() -> None:
    lengths = [len(wave) for wave in golden_waveforms(card(16000)).values()]
    assert {1, 200, 399, 400, 480, 16000, 80000, 160000} <= set(lengths)
    assert any(length > 16000 and length % 160 and length % 2 for length in lengths)
    assert lengths.count(16000) >= 3  # batches of three


def test_they_are_the_same_every_time_and_differ_from_each_other() -> None:
    first, second = golden_waveforms(card(16000)), golden_waveforms(card(16000))
    for name, wave in first.items():
        np.testing.assert_array_equal(wave, second[name])
    assert len({wave.tobytes() for wave in first.values()}) == len(first)


def test_long_clips_do_not_make_long_vectors() -> None:
    total = sum(len(wave) for wave in golden_waveforms(card(16000, seconds=30.0)).values())
    assert total / 16000 < 30


def peak_hz(wave: np.ndarray, rate: int) -> float:
    return np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave)


def test_sine_and_chirp_have_their_frequencies() -> None:
    assert peak_hz(sine(16000, 16000, 440), 16000) == 440
    sweep = chirp(16000, 16000)
    assert peak_hz(sweep[:1600], 16000) < 100
    assert peak_hz(sweep[-160:], 16000) == pytest.approx(7500, rel=0.05)


def test_notes_decay_to_silence_in_between() -> None:
    wave = notes(16000, 16000, np.random.default_rng(0))
    assert np.abs(wave[800:2400]).max() > 0.2
    assert np.abs(wave[4100:8700]).max() == 0
