"""Waveforms before the network: what is refused, and how a clip is brought to the length of the training clips."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from frami_edge.runtime.errors import FramiError

Array = np.ndarray[Any, np.dtype[Any]]

PREPARATIONS = ("center-pad", "crop", "end-pad", "loop")
LONGEST_SECONDS = 30  # that go through the network at once: its memory grows with the length
LARGEST_AMPLITUDE = 8.0  # full scale is 1, resampling overshoots a little; above this it is another scale


def check_wave(wave: Array, where: str = "The audio") -> Array:
    """One channel as float32 (samples,), or a :class:`FramiError` that says what is wrong with it.

    None of this would fail by itself: one NaN makes every logit NaN, whose argmax is class 0; two channels pass as
    a batch of two clips; samples in int16 scale give another class without a word.

    Args:
        wave: (samples,) floating point, full scale 1.
        where: what the error message calls it, such as the file's name.
    """
    wave = np.asarray(wave)
    if wave.ndim != 1:
        raise FramiError(f"{where} has shape {wave.shape}; one channel of shape (samples,) is needed.",
                         "Mix the channels down first: wave.mean(axis=...).")
    _check_samples(wave, where)
    return np.ascontiguousarray(wave, dtype=np.float32)


def check_batch(waves: Array) -> Array:
    """Several clips of one length as float32 (batch, samples), with the checks of :func:`check_wave`."""
    waves = np.asarray(waves)
    if waves.ndim != 2 or len(waves) == 0:
        raise FramiError(f"The batch has shape {waves.shape}; (batch, samples) is needed.",
                         "For one clip: wave[None, :]. Clips of different lengths go one by one.")
    _check_samples(waves, "The batch")
    return np.ascontiguousarray(waves, dtype=np.float32)


def _check_samples(samples: Array, where: str) -> None:
    if not np.issubdtype(samples.dtype, np.floating):
        raise FramiError(f"{where} has samples of type {samples.dtype}; floats with full scale 1 are needed.",
                         "Divide int16 samples by 32768.")
    if samples.size == 0:
        raise FramiError(f"{where} is empty.", "Give at least one sample.")
    if not np.isfinite(samples).all():
        broken = int(np.count_nonzero(~np.isfinite(samples)))
        raise FramiError(f"{where} holds NaN or infinity ({broken} of {samples.size} samples).",
                         "Look at what recorded or converted it.")
    largest = float(np.abs(samples).max())
    if largest > LARGEST_AMPLITUDE:
        raise FramiError(f"{where} reaches {largest:g}; full scale is 1.", "Divide samples in int16 scale by 32768.")


def same_length(clip: Mapping[str, Any]) -> bool:
    """Whether the preparation brings all clips to one length."""
    return bool(clip["preparation"] != "crop")


def kept_range(samples: int, clip: Mapping[str, Any]) -> tuple[int, int]:
    """Which samples of a clip the preparation uses: preparing those alone gives the same.

    Args:
        samples: length of the clip, at ``clip["sample_rate"]``.
        clip: as :func:`prepare` takes it.
    """
    if not same_length(clip):
        return 0, samples
    wanted = round(clip["seconds"] * clip["sample_rate"])
    first = max(0, samples - wanted) // 2 if clip["preparation"] == "center-pad" else 0
    return first, min(samples, first + wanted)


def pieces(prepared: Array, clip: Mapping[str, Any]) -> Array:
    """A prepared clip (samples,) in the fewest pieces of equal length: (n, samples).

    Each of at most ``LONGEST_SECONDS``, or of the length of the training clips where that is more.

    Only clips that stay whole (``crop``) can be longer than that. Ten minutes at once take half a gigabyte in the
    smallest student, so a long one is heard in pieces whose probabilities are averaged; fewer than n samples at its
    end are left out.
    """
    if not same_length(clip):
        n = -(-len(prepared) // round(max(LONGEST_SECONDS, clip["seconds"]) * clip["sample_rate"]))
        return prepared[: len(prepared) // n * n].reshape(n, -1)
    return prepared[None]


def prepare(wave: Array, clip: Mapping[str, Any]) -> Array:
    """Bring a clip (samples,) to length as the training clips were; (samples,) again.

    Args:
        wave: one channel at ``clip["sample_rate"]``.
        clip: the card's ``[clip]`` table (metadata entry ``frami.clip``), of which are used
            ``sample_rate`` in Hz, ``seconds`` and ``preparation``:

            - ``center-pad``: zeros on both sides; of a longer clip the middle
            - ``end-pad``: zeros at the end; of a longer clip the beginning
            - ``loop``: repeated; of a longer clip the beginning
            - ``crop``: a longer clip stays whole; a shorter one gets zeros at the end
    """
    wanted, have = round(clip["seconds"] * clip["sample_rate"]), len(wave)
    preparation = clip["preparation"]
    if preparation == "crop":
        return np.pad(wave, (0, max(0, wanted - have)))
    if preparation == "loop":
        return np.tile(wave, -(-wanted // max(have, 1)))[:wanted]
    if preparation == "end-pad":
        return np.pad(wave, (0, max(0, wanted - have)))[:wanted]
    if preparation == "center-pad":
        before = max(0, wanted - have) // 2
        first = max(0, have - wanted) // 2
        return np.pad(wave[first : first + wanted], (before, max(0, wanted - have) - before))
    raise FramiError(f"Unknown clip preparation '{preparation}'.", f"Known: {', '.join(PREPARATIONS)}.")
