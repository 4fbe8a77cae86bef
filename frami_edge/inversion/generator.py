"""The generator: noise in, log-Mel spectrograms out."""

import torch.nn.functional as F
from torch import Tensor, nn


class Generator(nn.Module):
    """Convolutional generator of CMI (Fang et al. 2021, arXiv:2105.08584) for spectrograms of any size.

    z (batch, nz) -> linear -> (batch, 2 ngf, n_mels / 4, frames / 4) -> two upsamplings by 2 with convolution,
    BatchNorm and LeakyReLU -> one channel -> sigmoid scaled to [floor, ceiling].

    Args:
        n_mels: Mel bands.
        frames: frames; neither needs to be a multiple of 4.
        floor: the log-Mel of silence.
        ceiling: the largest log-Mel that audio in [-1, 1] can have.
        nz: size of the noise.
        ngf: width; the first layers have 2 * ngf channels.
        smooth: average each frame with its neighbours (1, 2, 1) before the sigmoid: frames of audio share more than
            half of their window, so a stripe of one frame's width is nothing that a recording could have.
    """

    def __init__(self, n_mels: int, frames: int, floor: float, ceiling: float, nz: int = 256, ngf: int = 64,
                 smooth: bool = False) -> None:
        super().__init__()
        self.smooth = smooth
        self.n_mels, self.frames, self.floor, self.ceiling = n_mels, frames, floor, ceiling
        self.start = (2 * ngf, -(-n_mels // 4), -(-frames // 4))
        self.project = nn.Linear(nz, self.start[0] * self.start[1] * self.start[2])
        self.norm = nn.BatchNorm2d(2 * ngf)
        self.wide = nn.Sequential(nn.Conv2d(2 * ngf, 2 * ngf, 3, padding=1, bias=False), nn.BatchNorm2d(2 * ngf),
                                  nn.LeakyReLU(0.2))
        self.narrow = nn.Sequential(nn.Conv2d(2 * ngf, ngf, 3, padding=1, bias=False), nn.BatchNorm2d(ngf),
                                    nn.LeakyReLU(0.2))
        self.last = nn.Sequential(nn.Conv2d(ngf, 1, 3, padding=1), nn.BatchNorm2d(1))

    def forward(self, z: Tensor) -> Tensor:
        """Log-Mel (batch, n_mels, frames) in [floor, ceiling], before normalisation, float32."""
        x = self.norm(self.project(z).unflatten(1, self.start))
        x = self.wide(F.interpolate(x, scale_factor=2))
        x = self.narrow(F.interpolate(x, scale_factor=2))
        x = self.last(x)[:, 0, : self.n_mels, : self.frames].float()
        if self.smooth:
            padded = F.pad(x, (1, 1), mode="replicate")
            x = 0.25 * padded[:, :, :-2] + 0.5 * x + 0.25 * padded[:, :, 2:]
        return self.floor + (self.ceiling - self.floor) * x.sigmoid()
