"""What a torchaudio transform inside a network says about its front-end."""

from typing import Any, NamedTuple

import torch
from torch import nn

from frami_edge._torchaudio import torchaudio
from frami_edge.dialect import MelSpec
from frami_edge.errors import FramiError
from frami_edge.frontend import analysis_window

WINDOWS = ("hann", "hamming", "povey", "blackman")
ELSEWHERE = "Describe the front-end in the card's [frontend], and name its last module with --features-at MODULE."

RAW = "Networks on raw waveforms, with no Mel front-end, are not supported: inversion starts from features."


class Found(NamedTuple):
    """The front-end of a network, as its transforms have it."""

    place: str  # the last of them, as in network.named_modules()
    sample_rate: int
    settings: dict[str, Any]  # keys of the card's [frontend]


def find_transforms(net: nn.Module) -> Found | None:
    """The MelSpectrogram (with its AmplitudeToDB, if there is one) or MFCC in a network; None where there is neither.

    Raises:
        FramiError: there are several, or one with settings that no card has.
    """
    kinds = torchaudio.transforms
    named = {name: module for name, module in net.named_modules()
             if isinstance(module, kinds.MelSpectrogram | kinds.MFCC | kinds.AmplitudeToDB)}
    inner = tuple(f"{name}." if name else "" for name, module in named.items() if isinstance(module, kinds.MFCC))
    outer = {name: module for name, module in named.items()
             if isinstance(module, kinds.MFCC) or not (inner and name.startswith(inner))}
    first = [name for name, module in outer.items() if not isinstance(module, kinds.AmplitudeToDB)]
    decibels = [name for name, module in outer.items() if isinstance(module, kinds.AmplitudeToDB)]
    if not first:
        return None
    if len(first) > 1 or len(decibels) > 1:
        raise FramiError(f"The network has several front-ends: {', '.join(outer)}.", ELSEWHERE)
    module = outer[first[0]]
    if isinstance(module, kinds.MFCC):
        return Found(first[0], module.sample_rate, _mfcc(module))
    settings = _mel(module) | (_decibels(outer[decibels[0]]) if decibels else {})
    return Found(decibels[0] if decibels else first[0], module.sample_rate, settings)


def _mel(module: Any) -> dict[str, Any]:
    """Of a MelSpectrogram."""
    inner, mel = module.spectrogram, module.mel_scale
    if inner.pad or inner.normalized or inner.power is None:
        raise FramiError(f"The network's MelSpectrogram has pad={inner.pad}, normalized={inner.normalized} and "
                         f"power={inner.power}; 0, False and a number are needed.", ELSEWHERE)
    return {"n_fft": inner.n_fft, "win_length": inner.win_length, "hop_length": inner.hop_length,
            "center": inner.center, "pad_mode": inner.pad_mode, "power": inner.power, "n_mels": mel.n_mels,
            "f_min": mel.f_min, "f_max": mel.f_max, "mel_scale": mel.mel_scale, "mel_norm": mel.norm or "none",
            **_window(inner.window)}


def _decibels(module: Any) -> dict[str, Any]:
    """Of an AmplitudeToDB."""
    return {"log": "db" if module.multiplier == 10 else "db-amplitude", "log_offset": module.amin,
            "log_offset_by": "clamping", "db_reference": module.ref_value, "top_db": module.top_db or 0.0}


def _mfcc(module: Any) -> dict[str, Any]:
    """Of an MFCC, with what it contains."""
    log = {"log": "ln", "log_offset": 1e-6} if module.log_mels else _decibels(module.amplitude_to_DB)
    return _mel(module.MelSpectrogram) | log | {"kind": "mfcc", "n_mfcc": module.n_mfcc}


def _window(window: torch.Tensor) -> dict[str, Any]:
    """The name of a window that is there as numbers."""
    for name in WINDOWS:
        for periodic in (True, False):
            spec = MelSpec.model_validate({"n_fft": len(window), "win_length": len(window), "window": name,
                                           "window_periodic": periodic})
            if torch.allclose(analysis_window(spec), window.double().cpu(), atol=1e-5):
                return {"window": name, "window_periodic": periodic}
    raise FramiError(f"The window of the network's MelSpectrogram is none of {', '.join(WINDOWS)}.",
                     "Only these can be exported.")
