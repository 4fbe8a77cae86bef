"""Labelled recordings as log-Mels in memory, computed once, and the random training batches drawn from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from frami_edge.audio import batches_of_equal_length, in_memory, read
from frami_edge.card import Normalisation, TeacherCard
from frami_edge.datasets import Clip
from frami_edge.errors import FramiError
from frami_edge.frontend import MelFrontend
from frami_edge.inversion.views import mask
from frami_edge.runtime.clips import prepare

BATCH = 64
LARGEST_SHIFT = 0.1  # of a clip, either way; time-dependent sounds are never rolled
WIDEST_MASK = 0.15  # of the Mel bands and of the frames (SpecAugment)


@dataclass(frozen=True)
class Recordings:
    """Clips of any length, end to end along time.

    Attributes:
        frames: log-Mel before normalisation, (frames of all clips, n_mels).
        starts: first frame of each clip, (clips,).
        lengths: frames of each clip, (clips,).
        labels: (clips,).
    """

    frames: Tensor
    starts: Tensor
    lengths: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Recordings":
        return Recordings(*(part.to(device) for part in (self.frames, self.starts, self.lengths, self.labels)))

    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of all frames, what preparation added included."""
        deviation, mean = torch.std_mean(self.frames.double())
        return Normalisation(kind="global", mean=round(float(mean), 4), std=round(max(float(deviation), 1e-3), 4))

    def draw(self, clips: Tensor, frames: int, time_dependent: bool, floor: float) -> Tensor:
        """A random stretch of ``frames`` frames of each of ``clips``, (batch, n_mels, frames).

        Time-independent: anywhere in the clip rolled in time, so the end may be followed by the beginning.
        Time-dependent: the start lies at most a tenth of ``frames`` outside the clip, where ``floor`` (silence) is.
        """
        lengths, time = self.lengths[clips, None], torch.arange(frames, device=clips.device)
        if not time_dependent:
            time = (time + (torch.rand(lengths.shape, device=clips.device) * lengths).long()) % lengths
            return self.frames[self.starts[clips, None] + time].transpose(1, 2)
        outside = round(LARGEST_SHIFT * frames)
        first = torch.rand(lengths.shape, device=clips.device) * (lengths - frames + 2 * outside + 1)
        time = time + first.long() - outside
        inside = time.clamp_min(0).minimum(lengths - 1)
        log_mel = self.frames[self.starts[clips, None] + inside].transpose(1, 2)
        return log_mel.masked_fill((time != inside).unsqueeze(1), floor)


@torch.no_grad()
def load(clips: Sequence[Clip], card: TeacherCard, report: Callable[[int], object] = lambda done: None) -> Recordings:
    """Read ``clips``, bring them to length as the card says, and compute their log-Mels.

    Args:
        report: called with the number of clips done.
    """
    if not clips:
        raise FramiError("There are no recordings to train on.", "Leave some groups out of --test.")
    frontend, clip_table = MelFrontend.from_card(card), card.clip.model_dump()
    log_mels: list[Tensor] = []
    for waves in in_memory(prepare(read(clip.path, card.clip.sample_rate), clip_table) for clip in clips):
        computed: dict[int, Tensor] = {}
        for indices in batches_of_equal_length(waves, BATCH):
            batch = torch.from_numpy(np.stack([waves[index] for index in indices]))
            computed.update(zip(indices, frontend.log_mel(batch).transpose(1, 2), strict=True))
        log_mels += [computed[index] for index in range(len(waves))]
        report(len(log_mels))
    lengths = torch.tensor([len(log_mel) for log_mel in log_mels])
    return Recordings(torch.cat(log_mels), lengths.cumsum(0) - lengths, lengths,
                      torch.tensor([clip.label for clip in clips]))


def spec_augment(log_mel: Tensor, floor: float) -> Tensor:
    """One run of Mel bands and one of frames silenced in each sample (Park et al. 2019); (batch, n_mels, frames)."""
    widest_bands, widest_frames = (int(WIDEST_MASK * log_mel.shape[axis]) for axis in (1, 2))
    return mask(mask(log_mel, 1, widest_bands, floor), 2, widest_frames, floor)
