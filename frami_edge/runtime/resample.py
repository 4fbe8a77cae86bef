"""Another sample rate for a waveform: windowed-sinc interpolation, as torchaudio.functional.resample does it.

Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/. With numpy alone, and from the few
taps that are not zero: torchaudio's dense kernel for two rates without a common divisor would take gigabytes.
The filters are computed in float64; torchaudio computes them in the type of the wave, which in float32 costs it an
error of some 1e-5 of full scale.
"""

import functools
import math
from typing import Any

import numpy as np

from frami_edge.runtime.errors import FramiError

Array = np.ndarray[Any, np.dtype[Any]]

ZERO_CROSSINGS = 6  # of the sinc on each side, to the end of its Hann window
ROLLOFF = 0.99  # cut-off as a share of the lower Nyquist frequency
BLOCK = 1 << 16  # outputs at a time, which bounds the memory to some tens of megabytes


def resample(wave: Array, from_rate: int, to_rate: int) -> Array:
    """(samples,) at ``from_rate`` Hz -> float32 (ceil(samples * to_rate / from_rate),) at ``to_rate`` Hz."""
    if from_rate <= 0 or to_rate <= 0:
        raise FramiError(f"Cannot resample from {from_rate} to {to_rate} Hz.", "Both rates must be above 0 Hz.")
    wave = np.asarray(wave, dtype=np.float32)
    if from_rate == to_rate or len(wave) == 0:
        return wave
    common = math.gcd(from_rate, to_rate)
    step, phases = from_rate // common, to_rate // common  # output j lies at input j * step / phases
    weights, width = _filters(step, phases)
    length = -(-len(wave) * phases // step)
    padded = np.pad(wave, (width, 2 * width + 2))
    taps = np.arange(weights.shape[1])
    output = np.empty(length, np.float32)
    for begin in range(0, length, BLOCK):
        index = np.arange(begin, min(begin + BLOCK, length))
        first = index * step // phases  # of the taps; the padding moved each by width to the right
        output[index] = np.einsum("jt,jt->j", padded[first[:, None] + taps], weights[index % phases])
    return output


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
