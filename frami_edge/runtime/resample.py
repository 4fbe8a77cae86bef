"""Another sample rate for a waveform: windowed-sinc interpolation, as torchaudio.functional.resample does it.

Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/. With numpy alone, and from the few
taps that are not zero: torchaudio's dense kernel for two rates without a common divisor would take gigabytes.
The filters are computed in float64; torchaudio computes them in the type of the wave, which in float32 costs it an
error of some 1e-5 of full scale.

A stream gives, in whatever blocks it arrives, the very samples that the whole signal gives.
"""

import functools
import math
from typing import Any

import numpy as np

from frami_edge.runtime.errors import FramiError

Array = np.ndarray[Any, np.dtype[Any]]

ZERO_CROSSINGS = 6  # of the sinc on each side, to the end of its Hann window
ROLLOFF = 0.99  # cut-off as a share of the lower Nyquist frequency
LARGEST_RATIO = 100  # of two sample rates; beyond it the header of a file is damaged, and the filters would not fit
BLOCK = 1 << 13  # outputs at a time, which bounds the memory to a few megabytes


def resample(wave: Array, from_rate: int, to_rate: int) -> Array:
    """(samples,) at ``from_rate`` Hz -> float32 (ceil(samples * to_rate / from_rate),) at ``to_rate`` Hz."""
    resampler = Resampler(from_rate, to_rate)
    wave = np.asarray(wave, dtype=np.float32)
    if from_rate == to_rate or len(wave) == 0:
        return wave
    return resampler.part(wave, 0, len(wave), 0, resampler.length(len(wave)))


class Resampler:
    """Resampling of a signal that arrives in blocks.

    The outputs of :meth:`feed` and :meth:`flush` joined are exactly ``resample`` of the blocks joined. The last few
    milliseconds are held back: the filter needs what comes after them.

    Args:
        from_rate: of what is fed, in Hz.
        to_rate: of what comes out, in Hz.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        from_rate, to_rate = _whole_rates(from_rate, to_rate)
        common = math.gcd(from_rate, to_rate)
        self._step, self._phases = from_rate // common, to_rate // common  # output j lies at input j * step / phases
        self._given = 0  # outputs so far
        self._fed = 0  # inputs so far
        self._kept = np.zeros(0, np.float32)  # the inputs that are still needed, the last of which is the last fed

    def length(self, samples: int) -> int:
        """Outputs of ``samples`` inputs."""
        return -(-samples * self._phases // self._step)

    def feed(self, block: Array) -> Array:
        """The next samples (any number,) -> those outputs, float32, that they complete."""
        block = np.asarray(block, dtype=np.float32)
        self._fed += len(block)
        if self._step == self._phases:
            return block
        self._kept = np.concatenate((self._kept, block))
        _, width = _filters(self._step, self._phases)
        # output j needs the inputs up to floor(j * step / phases) + width + 1
        return self._give(max(self._given, self.length(self._fed - width - 1)))

    def flush(self) -> Array:
        """The outputs that were held back; the signal has ended."""
        if self._step == self._phases:
            return np.zeros(0, np.float32)
        return self._give(self.length(self._fed))

    def _give(self, end: int) -> Array:
        first = self._fed - len(self._kept)
        output = self.part(self._kept, first, self._fed, self._given, end)
        self._given = end
        needed, _ = self.inputs(end, end)
        self._kept = self._kept[max(0, needed - first) :].copy()  # a view would hold on to the whole block
        return output

    def inputs(self, begin: int, end: int) -> tuple[int, int]:
        """The range of inputs that the outputs ``begin`` to ``end`` (exclusive) are made of."""
        if self._step == self._phases:
            return begin, end
        _, width = _filters(self._step, self._phases)
        return max(0, begin * self._step // self._phases - width), end * self._step // self._phases + width + 2

    def part(self, inputs: Array, first: int, samples: int, begin: int, end: int) -> Array:
        """Some outputs, from those inputs that they need.

        Args:
            inputs: (some,) of the signal, at least the range that :meth:`inputs` names, as far as it exists.
            first: index of ``inputs[0]`` in the signal.
            samples: length of the signal as far as it is known; beyond lies silence.
            begin, end: which outputs; float32 (end - begin,) is returned.
        """
        if self._step == self._phases:
            return inputs[begin - first : end - first]
        weights, width = _filters(self._step, self._phases)
        output = np.empty(end - begin, np.float32)
        for low in range(begin, end, BLOCK):
            index = np.arange(low, min(low + BLOCK, end))
            at = index * self._step // self._phases - width  # of the first tap
            have = inputs[max(0, int(at[0]) - first) : max(0, min(int(at[-1]) + 2 * width + 2, samples) - first)]
            before = max(0, first - int(at[0]))
            after = int(at[-1] - at[0]) + weights.shape[1] - before - len(have)
            windows = np.lib.stride_tricks.sliding_window_view(np.pad(have, (before, after)), weights.shape[1])
            output[index - begin] = np.einsum("jt,jt->j", windows[at - at[0]], weights[index % self._phases])
        return output


def _whole_rates(from_rate: float, to_rate: float) -> tuple[int, int]:
    """Both as integers; 44100.0 is one, as numpy and some readers of files give it."""
    if not all(math.isfinite(rate) and rate == int(rate) and rate > 0 for rate in (from_rate, to_rate)):
        raise FramiError(f"Cannot resample from {from_rate} to {to_rate} Hz.",
                         "Both rates must be whole numbers above 0 Hz.")
    if max(from_rate, to_rate) > LARGEST_RATIO * min(from_rate, to_rate):
        raise FramiError(f"Cannot resample from {from_rate} to {to_rate} Hz: they are too far apart.",
                         "Look at the sample rate that the file or the device claims.")
    return int(from_rate), int(to_rate)


@functools.lru_cache(maxsize=8)
def _filters(step: int, phases: int) -> tuple[Array, int]:
    """The taps of each phase, float32 (phases, 2 * width + 2), and how many lie left of the output's position."""
    cutoff = ROLLOFF * min(step, phases)
    width = math.ceil(ZERO_CROSSINGS * step / cutoff)
    position = np.arange(phases) * step % phases / phases  # of the output behind the input sample to its left
    distance = np.arange(-width, width + 2) - position[:, None]  # in input samples
    t = np.clip(distance * cutoff / step, -ZERO_CROSSINGS, ZERO_CROSSINGS)
    window = np.cos(t * np.pi / ZERO_CROSSINGS / 2) ** 2
    return (np.sinc(t) * window * cutoff / step).astype(np.float32), width
