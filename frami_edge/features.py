"""From the log-Mel to what the network hears: decibels below the clip's peak, MFCCs, normalisation.

Synthesized samples and recordings are kept as log-Mels, where silence is one number and every value one that audio can
have. Whatever depends on the clip comes after, here, and is differentiable.
"""

import torch
from torch import Tensor, nn

from frami_edge._torchaudio import torchaudio
from frami_edge.dialect import MelSpec


class Features(nn.Module):
    """Log-Mel (batch, n_mels, frames) -> the network's input (batch, rows, frames)."""

    dct: Tensor
    mean: Tensor
    std: Tensor
    epsilon: Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.spec = spec
        normalisation = spec.normalisation
        if spec.kind == "mfcc":
            dct = torchaudio.functional.create_dct(spec.n_mfcc, spec.n_mels, norm="ortho")
            self.register_buffer("dct", dct.T.contiguous(), persistent=False)
        if normalisation.kind == "per-band":
            self.register_buffer("mean", torch.tensor(normalisation.band_mean).unsqueeze(1), persistent=False)
            self.register_buffer("std", torch.tensor(normalisation.band_std).unsqueeze(1), persistent=False)
        # a number for each row: the exporter's optimiser drops the addition of a single one below 1e-8
        self.register_buffer("epsilon", torch.full((spec.rows, 1), normalisation.epsilon), persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        """What the network hears of each clip."""
        rows = self._rows(log_mel, self._peak(log_mel))
        return self._normalise(rows, rows)

    def silence(self, log_mel: Tensor) -> Tensor | float:
        """What silence within each clip is to the network: a number, or a tensor that broadcasts with the features."""
        spec, normalisation = self.spec, self.spec.normalisation
        if spec.plain and normalisation.kind == "none":
            return spec.log_floor
        if spec.plain and normalisation.kind == "global":
            return (spec.log_floor - normalisation.mean) / normalisation.std
        peak = self._peak(log_mel)
        quiet = log_mel.new_full((1, spec.n_mels, 1), spec.log_floor)
        return self._normalise(self._rows(quiet, peak), self._rows(log_mel, peak))

    def _peak(self, log_mel: Tensor) -> Tensor:
        """The largest value of each clip, (batch, 1, 1)."""
        return log_mel.amax((1, 2), keepdim=True)

    def _rows(self, log_mel: Tensor, peak: Tensor) -> Tensor:
        """(batch, rows, frames) before normalisation, of clips that reach up to ``peak``."""
        spec = self.spec
        if spec.top_db:
            log_mel = torch.maximum(log_mel, peak - spec.top_db)
        if spec.db_reference == "max":
            log_mel = log_mel - peak
        return torch.matmul(self.dct, log_mel) if spec.kind == "mfcc" else log_mel

    def _normalise(self, rows: Tensor, clip: Tensor) -> Tensor:
        """``rows`` by the card's numbers, or by the statistics of ``clip``, both (batch, rows, frames)."""
        normalisation = self.spec.normalisation
        if normalisation.kind == "none":
            return rows
        if normalisation.kind == "global":
            return (rows - normalisation.mean) / normalisation.std
        if normalisation.kind == "per-band":
            return (rows - self.mean) / self.std
        axes = (1, 2) if normalisation.kind == "clip" else (2,)
        # less the first value, which the mean takes out again: what is constant then gives zeros, not rounding errors
        first = clip[:, :1, :1] if normalisation.kind == "clip" else clip[:, :, :1]
        mean = (clip - first).mean(axes, keepdim=True)
        centred = rows - first - mean
        if normalisation.kind == "cmn":
            return centred
        squares = (clip - first - mean).square().sum(axes, keepdim=True)
        count = clip.shape[2] * (clip.shape[1] if normalisation.kind == "clip" else 1)
        variance = squares / torch.sym_max(count - normalisation.correction, 1)
        constant = variance == 0  # where the square root has no gradient
        std = torch.where(constant, torch.ones_like(variance), variance).sqrt().masked_fill(constant, 0.0)
        return centred / (std + self.epsilon)
