"""A student of the user's own: ``--student my.py:build``, where ``build(classes, n_mels)`` gives a torch.nn.Module.

It takes normalised log-Mels (batch, 1, n_mels, frames) of any length and gives logits (batch, classes). Its hidden
states are found by probing, as a teacher's are. Its code is stored nowhere: a checkpoint keeps the file's name, its
sha256 and a few logits that the code must give again.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frami_edge.compute import eval_backward, is_recurrent
from frami_edge.errors import FramiError
from frami_edge.factories import Factory, call, find_factory
from frami_edge.files import sha256
from frami_edge.hidden_states import hidden_states
from frami_edge.networks import registry
from frami_edge.networks.base import Hidden, Network
from frami_edge.probing import find_taps, probe, works_channels_last

HALF = (torch.bfloat16, torch.float16)  # what autocast gives; losses are computed in float32
PROBED_FRAMES = 101  # a second at the usual hop


class OwnNetwork(Network):
    """Anybody's network with the hidden states that the losses look at.

    Raises:
        FramiError: it does not take such input, gives something else than logits, or takes but one length.
    """

    def __init__(self, model: nn.Module, classes: int, n_mels: int) -> None:
        nn.Module.__init__(self)  # the stages, pooling and classifier of Network are inside the model
        self.classes, self.n_mels, self.model = classes, n_mels, model.cpu().eval()
        self.recurrent = is_recurrent(model)
        with torch.no_grad():
            self.taps = find_taps(model, self._call, n_mels, PROBED_FRAMES, classes)
            output = self._call(probe(2, n_mels, PROBED_FRAMES))
            if not isinstance(output, Tensor) or output.shape != (2, classes):
                raise FramiError(f"A student's output is logits (batch, classes); this one gives "
                                 f"{tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__}.")
            if self.taps.fixed_frames is not None:
                raise FramiError(f"The student takes clips of {PROBED_FRAMES} frames alone; devices hear clips of any "
                                 "length.", "Pool over time instead of flattening it.")
            self._refuse_long_clips_only()
            alone = self._call(probe(1, n_mels, PROBED_FRAMES))
            if alone.shape != (1, classes):
                raise FramiError(f"The student gives {tuple(alone.shape)} for one clip alone, which is what a device "
                                 f"hears; (1, {classes}) is needed.", "Name the axes that it squeezes: squeeze(2).")
            self.example = probe(2, n_mels, PROBED_FRAMES)
            self.channels_last = works_channels_last(model, lambda: self._call(self.example))
            self.features = self.forward_hidden(probe(2, n_mels, PROBED_FRAMES)).frames.shape[1]
        self.train()

    def forward(self, log_mel: Tensor) -> Tensor:
        logits: Tensor = self._call(log_mel)
        return logits.float() if logits.dtype in HALF else logits

    def forward_hidden(self, log_mel: Tensor) -> Hidden:
        logits, frames, pooled, stages = hidden_states(self.model, self.taps, lambda: self._call(log_mel))
        logits, frames, pooled = (each.float() if each.dtype in HALF else each for each in (logits, frames, pooled))
        return Hidden(logits, frames, pooled, stages)

    def _refuse_long_clips_only(self) -> None:
        try:
            self._call(probe(2, self.n_mels, 1))
        except Exception as error:  # the user's code may raise anything
            raise FramiError(f"The student does not take a clip of one frame: {error}",
                             "Devices hear clips of any length: pad in its convolutions, and give its poolings "
                             "ceil_mode=True.") from error

    def _call(self, log_mel: Tensor) -> Any:
        with eval_backward(self.recurrent and not self.training, log_mel):  # L_adv goes through it to the samples
            return self.model(log_mel if log_mel.dim() == 4 else log_mel.unsqueeze(1))


def check_student(wanted: str) -> None:
    """Raise :class:`FramiError` unless ``wanted`` is registered, or FILE.py:FUNCTION of a file that exists."""
    if ":" in wanted:
        find_factory(wanted, Path())
    else:
        registry.describe(wanted)


def student_code_sha256(wanted: str) -> str:
    """Of the file that ``FILE.py:FUNCTION`` names."""
    return sha256(find_factory(wanted, Path()).file)


def build_student(wanted: str, classes: int, n_mels: int) -> Network:
    """A freshly initialised network: a registered one, or one that the user's file builds (which runs it)."""
    if ":" not in wanted:
        return registry.build(wanted, classes, n_mels)
    return build_own(find_factory(wanted, Path()), classes, n_mels)


def build_own(factory: Factory, classes: int, n_mels: int) -> Network:
    module = call(factory, classes, n_mels)
    network = module if isinstance(module, Network) else OwnNetwork(module, classes, n_mels)
    network.name, network.code_sha256 = f"{factory.file.name}:{factory.function}", sha256(factory.file)
    return network


@torch.no_grad()
def fingerprint(network: Network) -> Tensor:
    """Logits (2, classes) of a fixed probe in eval mode: what the code must give again."""
    training = network.training
    try:
        device = next(network.parameters()).device
        return network.eval()(probe(2, network.n_mels, PROBED_FRAMES).to(device)).float().cpu()
    finally:
        network.train(training)


def rebuild(content: dict[str, Any], path: Path, arch: str | None, trust: bool) -> Network:
    """The network of a checkpoint whose code is not in it, with its weights.

    Args:
        arch: FILE.py:FUNCTION that the user typed.
        trust: run the file beside the checkpoint, if it is the one that the student was trained with.

    Raises:
        FramiError: the user said nothing, the file is missing or has changed, or it computes something else.
    """
    name, recorded = content["architecture"], content["code_sha256"]
    beside = path.parent / name.partition(":")[0]
    if not arch and not trust:
        raise FramiError(f"{path} holds the weights of a network built by code: {name}, sha256 {recorded}. "
                         "The code is not in the file, and was not run.",
                         f"Say --arch {name}, or --trust to run {beside} if it has that sha256.")
    factory = find_factory(arch or name, path.parent)
    if not arch and sha256(factory.file) != recorded:
        raise FramiError(f"{factory.file} has changed since the student was made (sha256 {sha256(factory.file)}, then "
                         f"{recorded}).", f"If it still builds the same network, say --arch {name}.")
    network = build_own(factory, content["classes"], content["n_mels"])
    try:
        network.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise FramiError(f"The weights in {path} do not fit what {factory} builds: {error}",
                         f"It was made with a file of sha256 {recorded}.") from error
    if not torch.allclose(fingerprint(network), content["fingerprint"], rtol=1e-3, atol=1e-3):
        raise FramiError(f"{factory} takes the weights in {path}, but computes something else than when the student "
                         "was made.", f"It was made with a file of sha256 {recorded}.")
    return network
