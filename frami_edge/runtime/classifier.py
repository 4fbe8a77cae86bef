"""A classifier of recordings from one ONNX file: everything it needs to know is in the file."""

from pathlib import Path
from typing import Any

import numpy as np

from frami_edge.runtime.clips import check_batch, check_wave, prepare
from frami_edge.runtime.resample import resample
from frami_edge.runtime.session import Metadata, open_model

Array = np.ndarray[Any, np.dtype[Any]]


class Classifier:
    """Opens a file that ``frami-edge export`` wrote.

    Args:
        path: the ``.onnx`` file.
        threads: that ONNX Runtime may use.

    Raises:
        FramiError: the file is missing, damaged, or was not exported by frami-edge.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self._model = open_model(Path(path), threads)

    @property
    def metadata(self) -> Metadata:
        return self._model.metadata

    @property
    def labels(self) -> tuple[str, ...]:
        return self.metadata.labels

    @property
    def sample_rate(self) -> int:
        """Of the waveforms that :meth:`logits` takes, in Hz."""
        return self.metadata.sample_rate

    def logits(self, waves: Array) -> Array:
        """Waveforms (batch, samples), at ``sample_rate`` and already brought to length -> (batch, classes)."""
        return self._model.logits(check_batch(waves))

    def predict(self, wave: Array, sample_rate: int, top: int = 3) -> list[tuple[str, float]]:
        """The ``top`` most likely labels of a recording with their probabilities, the likeliest first.

        Args:
            wave: (samples,) floating point with full scale 1, any length, one channel.
            sample_rate: of ``wave``, in Hz; another one than the model's is resampled.
            top: how many labels; all where there are fewer.
        """
        wave = resample(check_wave(wave), sample_rate, self.sample_rate)
        probabilities = softmax(self._model.logits(prepare(wave, self.metadata.clip)[None]))[0]
        best = np.argsort(-probabilities, kind="stable")[:top]
        return [(self.labels[index], float(probabilities[index])) for index in best]


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis, float64."""
    shares: Array = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return shares
