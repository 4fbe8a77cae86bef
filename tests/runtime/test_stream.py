"""Windows over a sound: however it is cut into blocks, what the whole sound gives."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frami_edge.runtime import Classifier, Stream
from frami_edge.runtime.clips import prepare
from frami_edge.runtime.errors import EXIT_CANNOT_RUN, EXIT_USAGE, FramiError
from frami_edge.runtime.resample import resample
from frami_edge.runtime.smoothing import exponential, mean, smoother


@pytest.fixture(scope="module")
def classifier(exported) -> Classifier:
    return Classifier(exported.model)  # clips of 0.5 s, end-pad


@pytest.fixture(scope="module")
def cropping(exported, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """The same network, said to hear clips of any length."""
    proto = onnx.load(exported.model)
    entry = next(entry for entry in proto.metadata_props if entry.key == "frami.clip")
    entry.value = entry.value.replace("end-pad", "crop")
    path: Path = tmp_path_factory.mktemp("crop") / "crop.onnx"
    onnx.save(proto, path)
    return Classifier(path)


def sound(samples: int) -> np.ndarray:
    time = np.arange(samples) / 16000
    chirp = np.sin(2 * np.pi * (200 + 700 * time) * time) * np.exp(-((time % 0.7) * 6))
    return (0.5 * chirp + 0.01 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def by_hand(classifier: Classifier, wave: np.ndarray, rate: int, window: float, hop: float) -> list[tuple]:
    """(begin, end, probabilities) of each window, from the whole sound."""
    wave = resample(wave, rate, 16000)
    window, hop, heard, end = round(window * 16000), round(hop * 16000), [], 0
    for begin in range(0, len(wave), hop):
        if begin + window > len(wave) and len(wave) <= end:
            break  # all of it was heard
        part = wave[begin : begin + window]
        end = begin + len(part)
        logits = classifier.logits(prepare(part, classifier.metadata.clip)[None])[0].astype(float)
        shares = np.exp(logits - logits.max())
        heard.append((begin / 16000, end / 16000, shares / shares.sum()))
    return heard


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 20000), max_size=6), rate=st.sampled_from([16000, 44100, 8000]),
       window=st.sampled_from([0.5, 0.2]), hop=st.sampled_from([0.25, 0.1, 0.5, 0.7]), samples=st.integers(1, 20000))
def test_blocks_change_nothing(classifier, cuts, rate, window, hop, samples) -> None:
    wave, stream = sound(samples), Stream(classifier, window, hop, rate)
    heard = [one for block in np.split(wave, sorted(min(cut, samples) for cut in cuts)) for one in stream.feed(block)]
    heard += stream.flush()
    expected = by_hand(classifier, wave, rate, window, hop)
    assert [(one.begin, one.end) for one in heard] == [(begin, end) for begin, end, _ in expected]
    for one, (_, _, probabilities) in zip(heard, expected, strict=True):
        np.testing.assert_allclose(one.probabilities, probabilities, atol=1e-12)
    whole = list(classifier.windows(wave, rate, window, hop))
    for one, same in zip(whole, heard, strict=True):
        np.testing.assert_array_equal(one.probabilities, same.probabilities)


def test_windows_come_as_soon_as_they_are_whole(classifier) -> None:
    stream, wave = Stream(classifier, 0.5, 0.25), sound(16000)
    assert stream.feed(wave[:7999]) == []
    assert [(one.begin, one.end) for one in stream.feed(wave[7999:8000])] == [(0, 0.5)]
    assert [one.begin for one in stream.feed(wave[8000:])] == [0.25, 0.5]
    assert stream.flush() == []


def test_the_defaults_are_a_clip_and_half_of_it(classifier) -> None:
    assert [one.begin for one in classifier.windows(sound(16000), 16000)] == [0, 0.25, 0.5]
    best = next(classifier.windows(sound(16000), 16000)).best(top=4)
    assert best == classifier.predict(sound(8000), 16000, top=4)


def test_memory_does_not_grow_with_the_sound(classifier) -> None:
    stream = Stream(classifier, 0.5, 0.5, 48000)
    for _ in range(20):
        stream.feed(np.zeros(48000))
        assert len(stream._samples) <= 8000
    assert stream._samples.base is None  # and holds on to no larger array


def test_nan_in_a_stream_is_no_class(classifier) -> None:
    stream = Stream(classifier)
    stream.feed(sound(100))
    with pytest.raises(FramiError, match=r"NaN or infinity \(1 of 100") as caught:
        stream.feed(np.where(np.arange(100) == 50, np.nan, sound(100)))
    assert caught.value.exit_code == EXIT_CANNOT_RUN


@pytest.mark.parametrize(("block", "said"), [
    (np.zeros((100, 2)), "one channel"), (np.zeros(100, np.int16), "int16"), (np.full(9, 300.0), "full scale is 1"),
])
def test_bad_blocks_are_refused(classifier, block: np.ndarray, said: str) -> None:
    with pytest.raises(FramiError, match=said):
        Stream(classifier).feed(block)


@pytest.mark.parametrize(("window", "hop", "said"), [
    (1.0, None, "longer than the model's clips"), (0, None, "window of 0 s"), (0.5, -1, "hop of -1 s"),
    (math.nan, None, "window of nan s"), (0.5, math.inf, "hop of inf s"),
])
def test_impossible_windows_are_refused(classifier, window: float, hop: float | None, said: str) -> None:
    with pytest.raises(FramiError, match=said) as caught:
        Stream(classifier, window, hop)
    assert caught.value.exit_code == EXIT_USAGE


def test_longer_windows_for_models_that_hear_any_length(cropping) -> None:
    wave = sound(32000)
    (heard,) = cropping.windows(wave, 16000, window=2)
    assert heard.best() == cropping.predict(wave, 16000)


def test_a_long_clip_is_the_mean_of_its_pieces(cropping) -> None:
    wave = np.concatenate((sound(16000 * 20), 0.3 * np.sign(sound(16000 * 20))))  # 40 s in two pieces
    halves = [dict(cropping.predict(half, 16000, top=9)) for half in np.split(wave, 2)]
    assert halves[0] != halves[1]
    for label, probability in cropping.predict(wave, 16000, top=9):
        assert probability == pytest.approx((halves[0][label] + halves[1][label]) / 2, abs=1e-6)


def test_a_model_that_gives_nan_is_told(exported, tmp_path: Path) -> None:
    proto = onnx.load(exported.model)
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "model.network.classifier.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, np.nan, np.float32), bias.name))
    onnx.save(proto, tmp_path / "nan.onnx")
    with pytest.raises(FramiError, match=r"nan\.onnx gives NaN"):
        Classifier(tmp_path / "nan.onnx").predict(sound(8000), 16000)


def test_smoothing_of_a_stream(classifier) -> None:
    plain = [one.probabilities for one in classifier.windows(sound(32000), 16000)]
    stream = Stream(classifier, smoother=mean(0.5, 0.25))
    smoothed = [one.smoothed for one in stream.feed(sound(32000))]
    np.testing.assert_allclose(smoothed, [plain[0], *np.add(plain[1:], plain[:-1]) / 2])


def test_the_time_constant_is_where_63_percent_have_arrived() -> None:
    for hop in (0.1, 0.5, 1.0):
        smooth = exponential(2.0, hop)
        smooth(np.array([1.0, 0.0]))
        for _ in range(round(2.0 / hop)):
            after = smooth(np.array([0.0, 1.0]))
        np.testing.assert_allclose(after, [math.exp(-1), 1 - math.exp(-1)])


@settings(max_examples=50)
@given(st.sampled_from(["exponential", "mean"]), st.floats(0.01, 100), st.floats(0.01, 10),
       st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_smoothed_probabilities_stay_probabilities(kind: str, seconds: float, hop: float, classes: list[int]) -> None:
    smooth = smoother(kind, seconds, hop)
    for index in classes:
        smoothed = smooth(np.eye(4)[index])
        assert smoothed.sum() == pytest.approx(1) and smoothed.min() >= 0
    assert smoothed[classes[-1]] > 0


@pytest.mark.parametrize(("kind", "seconds"), [("median", 1), ("mean", 0), ("exponential", math.nan)])
def test_impossible_smoothing(kind: str, seconds: float) -> None:
    with pytest.raises(FramiError) as caught:
        smoother(kind, seconds, 0.5)
    assert caught.value.exit_code == EXIT_USAGE
