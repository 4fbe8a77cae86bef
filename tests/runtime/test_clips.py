"""What is refused, and how clips are brought to length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frami_edge.runtime.clips import check_batch, check_wave, pieces, prepare
from frami_edge.runtime.errors import EXIT_CANNOT_RUN, FramiError

PREPARATIONS = ["center-pad", "end-pad", "loop", "crop"]


def clip(preparation: str, samples: int = 10) -> dict[str, object]:
    return {"sample_rate": 10, "seconds": samples / 10, "preparation": preparation}


@pytest.mark.parametrize(("wave", "said"), [
    (np.zeros(0), "is empty"),
    (np.zeros((2, 100)), "one channel"),
    (np.zeros((100, 2)), "one channel"),
    (np.float32(0.5), "one channel"),
    (np.zeros(100, np.int16), "int16"),
    (np.array([0, np.nan, 0]), "NaN or infinity (1 of 3 samples)"),
    (np.array([0, np.inf, -np.inf, 0]), "NaN or infinity (2 of 4 samples)"),
    (np.array([0.0, -12000.0]), "full scale is 1"),
])
def test_what_would_silently_give_a_wrong_class_is_refused(wave: np.ndarray, said: str) -> None:
    with pytest.raises(FramiError) as caught:
        check_wave(wave, "door.wav")
    assert said in caught.value.problem
    assert caught.value.problem.startswith("door.wav")
    assert caught.value.exit_code == EXIT_CANNOT_RUN


def test_floats_become_float32_and_a_little_overshoot_is_fine() -> None:
    wave = check_wave(np.array([0.25, -1.02, 0.5])[::-1])
    assert wave.dtype == np.float32
    assert wave.flags.c_contiguous
    np.testing.assert_array_equal(wave, np.float32([0.5, -1.02, 0.25]))


@pytest.mark.parametrize("waves", [np.zeros(5), np.zeros((0, 5)), np.zeros((2, 0)), np.full((2, 5), np.nan)])
def test_a_bad_batch_is_refused(waves: np.ndarray) -> None:
    with pytest.raises(FramiError):
        check_batch(waves)


@pytest.mark.parametrize(("preparation", "short", "long"), [
    ("center-pad", [0, 1, 2, 3, 0, 0], [2, 3, 4, 5, 6, 7]),
    ("end-pad", [1, 2, 3, 0, 0, 0], [1, 2, 3, 4, 5, 6]),
    ("loop", [1, 2, 3, 1, 2, 3], [1, 2, 3, 4, 5, 6]),
    ("crop", [1, 2, 3, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
])
def test_each_preparation(preparation: str, short: list[int], long: list[int]) -> None:
    np.testing.assert_array_equal(prepare(np.arange(1.0, 4.0), clip(preparation, 6)), short)
    np.testing.assert_array_equal(prepare(np.arange(1.0, 10.0), clip(preparation, 6)), long)


@given(st.sampled_from(PREPARATIONS), st.integers(1, 40), st.integers(1, 40))
def test_the_length_is_the_wanted_one_and_the_clip_is_in_it(preparation: str, have: int, wanted: int) -> None:
    wave = np.arange(1, have + 1, dtype=np.float32)
    prepared = prepare(wave, clip(preparation, wanted))
    assert len(prepared) == (max(have, wanted) if preparation == "crop" else wanted)
    assert prepared.dtype == np.float32
    kept = prepared[prepared > 0][:have]
    assert len(kept) == min(have, len(prepared))
    np.testing.assert_array_equal(np.diff(kept), 1)  # one piece, in order


@given(st.integers(1, 40), st.integers(1, 40))
def test_centring_leaves_as_much_on_both_sides(have: int, wanted: int) -> None:
    prepared = prepare(np.ones(have), clip("center-pad", wanted))
    left, right = prepared.argmax(), prepared[::-1].argmax()
    assert right - left in (0, 1)


def test_an_unknown_preparation_is_named() -> None:
    with pytest.raises(FramiError, match="'fold'"):
        prepare(np.ones(3), clip("fold"))


def test_long_clips_are_heard_in_pieces_that_are_no_shorter_than_those_of_the_training() -> None:
    for seconds, length, shape in ((2, 29, (1, 290)), (2, 61, (3, 203)), (60, 60, (1, 600)), (60, 61, (2, 305))):
        table = clip("crop", 10 * seconds) | {"sample_rate": 10, "seconds": seconds}
        assert pieces(np.zeros(10 * length), table).shape == shape
