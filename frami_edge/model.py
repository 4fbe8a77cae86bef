"""The whole classifier, waveform in, logits out: what is exported."""

from torch import Tensor, nn

from frami_edge.frontend import MelFrontend
from frami_edge.networks.base import Network


class WaveformClassifier(nn.Module):
    """Waveform (batch, samples) in [-1, 1] -> logits (batch, classes)."""

    def __init__(self, frontend: MelFrontend, network: Network) -> None:
        super().__init__()
        self.frontend, self.network = frontend, network

    def forward(self, wave: Tensor) -> Tensor:
        return self.network(self.frontend(wave))

    def forward_stages(self, wave: Tensor) -> dict[str, Tensor]:
        """The stages that parity is checked at: log_mel (normalised), pooled, logits."""
        log_mel = self.frontend(wave)
        hidden = self.network.forward_hidden(log_mel)
        return {"log_mel": log_mel, "pooled": hidden.pooled, "logits": hidden.logits}
