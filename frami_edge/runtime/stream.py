"""Sliding windows over a sound of any length, in constant memory: a file, a microphone, a socket.

    stream = Stream(Classifier("student.onnx"), sample_rate=44100)
    for block in blocks:                     # of any size
        for heard in stream.feed(block):     # the windows that this block completed
            print(heard.begin, heard.best()[0])

Window k begins at k * hop, and is brought to length as the training clips were. What is left at the end of the sound
makes one last, shorter window.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from frami_edge.runtime.clips import check_wave, prepare, same_length
from frami_edge.runtime.errors import EXIT_USAGE, FramiError
from frami_edge.runtime.resample import Resampler
from frami_edge.runtime.smoothing import Smoother

if TYPE_CHECKING:
    from frami_edge.runtime.classifier import Classifier

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK_SECONDS = 10  # of a long block that is worked through at a time


@dataclass(frozen=True)
class Heard:
    """What the model heard in one window."""

    begin: float  # seconds since the start of the sound
    end: float
    labels: tuple[str, ...]
    probabilities: Array  # float64 (classes,), of this window alone
    smoothed: Array  # float64 (classes,), over the windows so far

    def best(self, top: int = 3) -> list[tuple[str, float]]:
        """The ``top`` likeliest labels with their smoothed probabilities, the likeliest first."""
        return ranked(self.labels, self.smoothed, top)


def ranked(labels: tuple[str, ...], probabilities: Array, top: int) -> list[tuple[str, float]]:
    """The ``top`` likeliest labels with their probabilities, the likeliest first; equal ones in the model's order."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(labels[index], float(probabilities[index])) for index in order]


class Stream:
    """A classifier fed with blocks of any size; how the sound is cut into blocks changes nothing.

    Args:
        classifier: what hears the windows.
        window: length in seconds; None for that of the training clips. Shorter ones are brought to length as the
            training clips were; a longer one needs a model that hears clips of any length (``crop``).
        hop: seconds from the beginning of one window to that of the next; None for half a window. Longer than the
            window, it leaves out what lies between.
        sample_rate: of the blocks, in Hz; None for the model's.
        smoother: None to take each window for itself. A stream of its own needs a smoother of its own.

    Raises:
        FramiError: the window or the hop does not fit the model (exit code 2), or a sample rate is impossible.
    """

    def __init__(self, classifier: "Classifier", window: float | None = None, hop: float | None = None,
                 sample_rate: int | None = None, smoother: Smoother | None = None) -> None:
        rate = classifier.sample_rate
        given = rate if sample_rate is None else sample_rate
        self._resampler = Resampler(given, rate)  # refuses what is no sample rate
        self.sample_rate = int(given)
        self.window, self.hop = window_and_hop(classifier, window, hop)  # in seconds
        self._window, self._hop = round(self.window * rate), max(1, round(self.hop * rate))
        self._classifier, self._smoother = classifier, smoother
        self._samples = np.zeros(0, np.float32)  # from ``_first`` on, at the model's rate
        self._first = 0  # index of the first of them in the sound
        self._next = 0  # where the next window begins
        self._end = 0  # of the last window

    def feed(self, block: Array) -> list[Heard]:
        """The next samples (any number,), as floats with full scale 1 -> the windows that they complete.

        Raises:
            FramiError: NaN, infinity, several channels, integers: see :func:`frami_edge.runtime.clips.check_wave`.
        """
        block = np.asarray(block)
        if block.ndim == 1 and len(block) == 0:
            return []
        block = check_wave(block)
        step = max(1, BLOCK_SECONDS * self.sample_rate)
        pieces = (block[first : first + step] for first in range(0, len(block), step))
        return [heard for piece in pieces for heard in self._advance(self._resampler.feed(piece))]

    def flush(self) -> list[Heard]:
        """The sound has ended: the windows that are still to come. Nothing can be fed after it."""
        heard = self._advance(self._resampler.flush())
        total = self._first + len(self._samples)
        if total > max(self._end, self._next):
            heard.append(self._hear(self._samples[self._next - self._first :]))
        return heard

    def _advance(self, samples: Array) -> list[Heard]:
        """Take in samples at the model's rate."""
        self._samples = np.concatenate((self._samples, samples))
        heard = []
        while self._next + self._window <= self._first + len(self._samples):
            begin = self._next - self._first
            heard.append(self._hear(self._samples[begin : begin + self._window]))
        done = min(max(0, self._next - self._first), len(self._samples))
        self._samples = self._samples[done:].copy()  # a view would hold on to everything before it
        self._first += done
        return heard

    def _hear(self, samples: Array) -> Heard:
        """Classify the next window; (samples,), shorter than a window at the end of the sound."""
        begin, rate = self._next, self._classifier.sample_rate
        self._next, self._end = begin + self._hop, begin + len(samples)
        clip = prepare(samples, self._classifier.metadata.clip)
        probabilities = self._classifier.clip_probabilities(clip)
        smoothed = self._smoother(probabilities) if self._smoother else probabilities
        return Heard(begin / rate, self._end / rate, self._classifier.labels, probabilities, smoothed)


def stream_windows(stream: Stream, wave: Array) -> Iterator[Heard]:
    """The windows of a whole sound (samples,), one at a time as they are asked for."""
    wave = check_wave(wave)
    step = max(1, BLOCK_SECONDS * stream.sample_rate)
    blocks = (wave[first : first + step] for first in range(0, len(wave), step))
    yield from chain.from_iterable(map(stream.feed, blocks))
    yield from stream.flush()


def window_and_hop(classifier: "Classifier", window: float | None, hop: float | None) -> tuple[float, float]:
    """Both in seconds, with their defaults, after the checks that a model asks for."""
    clip = classifier.metadata.clip
    wanted = float(clip["seconds"])
    window = wanted if window is None else window
    hop = window / 2 if hop is None else hop
    for name, seconds in (("window", window), ("hop", hop)):
        if not 1 / classifier.sample_rate <= seconds <= 3600:
            raise FramiError(f"A {name} of {seconds:g} s is not possible.", "Give seconds, such as 1 or 0.5.",
                             exit_code=EXIT_USAGE)
    if window > wanted and same_length(clip):
        raise FramiError(f"A window of {window:g} s is longer than the model's clips, which have {wanted:g} s.",
                         f"Give at most {wanted:g} s, or smooth over several windows.", exit_code=EXIT_USAGE)
    return window, hop
