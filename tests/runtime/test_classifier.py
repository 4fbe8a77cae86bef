"""The classifier against PyTorch with torchaudio's resampling."""

import numpy as np
import pytest
import torch

from frami_edge import checkpoints
from frami_edge._torchaudio import torchaudio
from frami_edge.frontend import MelFrontend
from frami_edge.model import WaveformClassifier
from frami_edge.runtime import Classifier
from frami_edge.runtime.classifier import softmax
from frami_edge.runtime.errors import FramiError


@pytest.fixture(scope="module")
def classifier(exported) -> Classifier:
    return Classifier(str(exported.model))


@pytest.fixture(scope="module")
def reference(exported) -> WaveformClassifier:
    loaded = checkpoints.load(exported.checkpoint)
    return WaveformClassifier(MelFrontend.from_card(loaded.card), loaded.network).eval()


def recording(seconds: float, rate: int) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    sound = np.sin(2 * np.pi * (200 + 900 * time) * time) * np.exp(-3 * time)
    return sound + 0.01 * np.random.default_rng(0).standard_normal(len(time))


@pytest.mark.parametrize(("seconds", "rate"), [(0.3, 16000), (0.5, 44100), (1.7, 8000), (0.0001, 48000)])
def test_predict_is_resampling_preparation_and_softmax(classifier, reference, seconds: float, rate: int) -> None:
    wave = recording(seconds, rate)
    heard = torchaudio.functional.resample(torch.from_numpy(wave).float(), rate, 16000)
    heard = torch.nn.functional.pad(heard, (0, max(0, 8000 - len(heard))))[:8000]  # end-pad to 0.5 s
    with torch.no_grad():
        expected = reference(heard[None]).softmax(1)[0]
    predicted = classifier.predict(wave, rate, top=4)
    assert sorted(label for label, _ in predicted) == sorted(classifier.labels)
    for label, probability in predicted:
        assert probability == pytest.approx(float(expected[classifier.labels.index(label)]), abs=1e-4)
    assert [p for _, p in predicted] == sorted((p for _, p in predicted), reverse=True)
    assert sum(p for _, p in predicted) == pytest.approx(1)


def test_top_is_how_many(classifier) -> None:
    wave = recording(0.5, 16000)
    assert classifier.predict(wave, 16000, top=2) == classifier.predict(wave, 16000, top=9)[:2]
    assert len(classifier.predict(wave, 16000)) == 3
    assert len(classifier.predict(wave, 16000, top=9)) == 4


def test_logits_of_a_batch_are_those_of_each_clip(classifier, reference) -> None:
    waves = np.random.default_rng(1).uniform(-1, 1, (3, 5001)).astype(np.float32)
    logits = classifier.logits(waves)
    assert logits.shape == (3, 4)
    with torch.no_grad():
        np.testing.assert_allclose(logits, reference(torch.from_numpy(waves)), atol=1e-4)
    for row in range(3):
        np.testing.assert_allclose(logits[row], classifier.logits(waves[row : row + 1])[0], atol=1e-5)


@pytest.mark.parametrize("wave", [np.zeros(0), np.full(100, np.nan), np.zeros((100, 2)), np.zeros(100, np.int16)])
def test_bad_recordings_are_refused(classifier, wave: np.ndarray) -> None:
    with pytest.raises(FramiError):
        classifier.predict(wave, 16000)


def test_softmax_of_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.float32([[1000, 1000], [0, -1000]])), [[0.5, 0.5], [1, 0]])
