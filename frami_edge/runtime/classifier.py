"""A classifier of recordings from one ONNX file: everything it needs to know is in the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from frami_edge.runtime.clips import check_batch, check_wave, pieces, prepare
from frami_edge.runtime.errors import FramiError
from frami_edge.runtime.resample import resample
from frami_edge.runtime.session import Metadata, open_model
from frami_edge.runtime.stream import Heard, Stream, ranked, stream_windows

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
        return ranked(self.labels, self.clip_probabilities(prepare(wave, self.metadata.clip)), top)

    def windows(self, wave: Array, sample_rate: int, window: float | None = None,
                hop: float | None = None) -> Iterator[Heard]:
        """What is heard along a long recording, window by window; :class:`Stream` says what the windows are.

        Args:
            wave, sample_rate: as for :meth:`predict`.
            window, hop: in seconds; None for the length of the training clips and half a window.
        """
        return stream_windows(Stream(self, window, hop, sample_rate), wave)

    def clip_probabilities(self, clip: Array) -> Array:
        """One prepared clip (samples,), at ``sample_rate`` -> float64 (classes,).

        Raises:
            FramiError: the model gives NaN or infinity, whose argmax would pass as class 0.
        """
        logits = np.concatenate([self._model.logits(piece[None]) for piece in pieces(clip, self.metadata.clip)])
        if not np.isfinite(logits).all():
            raise FramiError(f"{self._model.path} gives NaN or infinity for a sound that holds neither.",
                             "Its weights may be damaged: compare its SHA-256 with the original.")
        probabilities: Array = softmax(logits).mean(axis=0)
        return probabilities


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis, float64."""
    shares: Array = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return shares
