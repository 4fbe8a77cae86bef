"""Teachers that take waveforms: inversion starts behind the front-end that is inside of them.

The front-end's last module is replaced by one that gives on the features it was handed, and the network is called with
features where it was called with waveforms. The student gets the card's front-end, so all is compared on test signals
first: what the module gives with what the card's front-end gives, and the answers of the network with the replacement
with those it gave before.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frami_edge._torchaudio import torchaudio
from frami_edge.card import TeacherCard
from frami_edge.dialect import MelSpec
from frami_edge.errors import EXIT_USAGE, FramiError, nearest
from frami_edge.frontend import MelFrontend
from frami_edge.hidden_states import clip_output
from frami_edge.teacher.transforms import ELSEWHERE, RAW, find_transforms

OTHER = f"If another module of it makes log-Mels or MFCCs: {ELSEWHERE[0].lower()}{ELSEWHERE[1:]}"
FEATURES_OFF = 0.01  # that the two front-ends may differ by, in standard deviations of the features
ANSWERS_OFF = 0.01  # the same for the answers, in units of the largest one

Change = Callable[[Tensor], Tensor]
ARRANGEMENTS: dict[str, Change] = {
    "(batch, rows, frames)": lambda x: x,
    "(batch, frames, rows)": lambda x: x.transpose(1, 2).contiguous(),  # see frami_edge.teacher.inputs.arrange
    "(batch, 1, rows, frames)": lambda x: x.unsqueeze(1),
    "(batch, 1, frames, rows)": lambda x: x.transpose(1, 2).contiguous().unsqueeze(1),
}


class PassThrough(nn.Module):
    """Stands where the front-end was: whatever it is called with, it gives on the features it was handed, once."""

    def __init__(self, spec: MelSpec, arrangement: str, linear: bool) -> None:
        super().__init__()
        self.spec, self.arrangement, self.linear = spec, arrangement, linear
        self.given: Tensor | None = None

    def forward(self, *ignored: Any, **ignored_too: Any) -> Tensor:
        given, self.given = self.given, None
        assert given is not None, "the front-end is called twice"
        return ARRANGEMENTS[self.arrangement](without_logarithm(given, self.spec) if self.linear else given)


class Entry:
    """Before the network runs: hands the features to the replacement, and makes of them a silent waveform.

    It is no function, so that a copy of the network hands them to the copy of the replacement.
    """

    def __init__(self, through: PassThrough, channel: bool) -> None:
        self.through, self.channel = through, channel

    def __call__(self, net: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        features = self.through.given = arguments[0]
        spec = self.through.spec
        samples = max((features.shape[-1] - 1) * spec.hop_length + (0 if spec.center else spec.frame_samples), 1)
        wave = features.new_zeros(len(features), samples)
        return (wave.unsqueeze(1) if self.channel else wave,)


class Heard(NamedTuple):
    """A test signal as the network hears it."""

    features: Tensor  # what the front-end's last module gives
    answers: Tensor  # (1, classes)
    channel: bool  # waveforms are (batch, 1, samples)


def behind_front_end(net: nn.Module, card: TeacherCard, features_at: str | None = None
                     ) -> tuple[nn.Module, TeacherCard]:
    """The network as one of features (batch, rows, frames), in place, and its card with the front-end filled in.

    Args:
        net: takes waveforms, (batch, samples) or (batch, 1, samples), where the card's layout says so; a network with
            another layout is returned as it is.
        card: what its ``[frontend]`` says comes before what is read from torchaudio's transforms in the network.
        features_at: the front-end's last module, before the card's ``features_at``.

    Raises:
        FramiError: there is no front-end to be found, the card's does not compute what the network's does, or the
            network also hears the waveform elsewhere.
    """
    if card.layout != "waveform":
        if features_at or card.features_at:
            raise FramiError(f"features_at is for teachers that take waveforms; the card's layout is {card.layout}.",
                             'Write layout = "waveform", or leave it out.', exit_code=EXIT_USAGE)
        return net, card
    net = net.eval().requires_grad_(False)
    named = features_at or card.features_at
    try:
        found = find_transforms(net)
    except FramiError:
        if not named:
            raise
        found = None  # the card describes what was named
    place = named or (found.place if found else "")
    names = [name for name, _ in net.named_modules() if name]
    if place not in names:
        raise FramiError(f"The network has no module '{place}'." if place else
                         "The network takes waveforms, and no torchaudio transform in it makes their features.",
                         nearest(place, names) if place else f"{RAW} {OTHER}", exit_code=EXIT_USAGE)
    _refuse_resampling(net, card)
    if found:
        card = _with_settings(card, found.settings, found.sample_rate)
    frontend = MelFrontend(card.frontend, card.clip.sample_rate)
    signals = test_signals(card)
    heard = [_hear(net, place, signal, card.classes) for signal in signals]
    features = [frontend(signal) for signal in signals]
    arrangement, linear = _how_they_agree(features, [each.features for each in heard], card.frontend, place)
    through = PassThrough(card.frontend, arrangement, linear)
    net.set_submodule(place, through)
    net.register_forward_pre_hook(Entry(through, heard[0].channel))
    _check_answers(net, features, [each.answers for each in heard], place)
    return net, card.model_copy(update={"layout": "BFT", "features_at": place})


def test_signals(card: TeacherCard) -> list[Tensor]:
    """Clips of the card's length, (1, samples) each: noise, and a chord that swells and fades in noise."""
    rate, samples = card.clip.sample_rate, card.clip.samples
    random = torch.Generator().manual_seed(0)
    seconds = torch.arange(samples) / rate
    chord = sum(torch.sin(2 * math.pi * share * rate * seconds) for share in (0.02, 0.05, 0.11, 0.23))
    noise = torch.randn(2, samples, generator=random)
    swelling = 0.1 * chord * (2 * math.pi * seconds * rate / samples * 2).sin().square()
    return [0.1 * noise[:1], (swelling + 0.003 * noise[1])[None]]


def without_logarithm(log_mel: Tensor, spec: MelSpec) -> Tensor:
    """The Mel energies of log-Mels."""
    guarded = ((log_mel + spec.log_shift) / spec.log_scale).exp()
    return (guarded - spec.log_offset if spec.log_offset_by == "adding" else guarded).clamp_min(0) / spec.log_gain


def with_logarithm(mel: Tensor, spec: MelSpec) -> Tensor:
    """The log-Mels of Mel energies."""
    gained = spec.log_gain * mel
    guarded = gained.clamp_min(spec.log_offset) if spec.log_offset_by == "clamping" else gained + spec.log_offset
    return spec.log_scale * guarded.log() - spec.log_shift


def _with_settings(card: TeacherCard, settings: dict[str, Any], sample_rate: int) -> TeacherCard:
    """The card with a network's own settings wherever it says nothing itself."""
    if sample_rate != card.clip.sample_rate and "sample_rate" in card.clip.model_fields_set:
        raise FramiError(f"The card says {card.clip.sample_rate} Hz, and the network's front-end {sample_rate} Hz.",
                         f"Write sample_rate = {sample_rate} in the card's [clip]; where the network resamples to that "
                         "first, leave this out in model.py.")
    said = card.frontend.model_dump(exclude_unset=True)
    content = card.model_dump()
    content["frontend"] = settings | said
    content["clip"]["sample_rate"] = sample_rate
    return TeacherCard.parse(content, "With the settings of the network's own transforms, the card")


@torch.no_grad()
def _refuse_resampling(net: nn.Module, card: TeacherCard) -> None:
    """Raise :class:`FramiError` where a torchaudio Resample runs in it: the card's front-end starts from clips."""
    ran: list[str] = []

    def keep(name: str) -> Callable[..., None]:
        return lambda *_: ran.append(name)

    resamplers = {name: module for name, module in net.named_modules()
                  if isinstance(module, torchaudio.transforms.Resample) and module.orig_freq != module.new_freq}
    hooks = [module.register_forward_hook(keep(name)) for name, module in resamplers.items()]
    signal = test_signals(card)[0]
    for wave in (signal, signal.unsqueeze(1)) if resamplers else ():
        with contextlib.suppress(Exception):  # the vendor's code may raise anything
            net(wave)
    for hook in hooks:
        hook.remove()
    if ran:
        module = resamplers[ran[0]]
        raise FramiError(f"The network resamples from {module.orig_freq} to {module.new_freq} Hz before its front-end "
                         f"('{ran[0]}').", f"Leave that out in model.py, and write sample_rate = {module.new_freq} in "
                         "the card's [clip]: clips are brought to that rate before.")


@torch.no_grad()
def _hear(net: nn.Module, place: str, signal: Tensor, classes: int) -> Heard:
    """Run the whole network, and keep what the module at ``place`` gives."""
    kept: list[Any] = []
    hook = net.get_submodule(place).register_forward_hook(lambda module, inputs, output: kept.append(output))
    failures = []
    try:
        for channel in (False, True):
            kept.clear()
            try:
                output = net(signal.unsqueeze(1) if channel else signal)
            except Exception as error:  # the vendor's code may raise anything
                failures.append(str(error))
                continue
            if len(kept) != 1 or not isinstance(kept[0], Tensor):
                raise FramiError(f"The module '{place}' runs {len(kept)} times for a clip; a front-end that runs once "
                                 "and gives one tensor is needed.", ELSEWHERE)
            return Heard(kept[0], clip_output(output, 1, classes).float(), channel)
    finally:
        hook.remove()
    raise FramiError(f"{type(net).__name__} does not take a waveform of {signal.shape[1]} samples: {failures[0]}",
                     "Compare layout and the clips' length with its description.")


def _how_they_agree(ours: list[Tensor], theirs: list[Tensor], spec: MelSpec, place: str) -> tuple[str, bool]:
    """How the network arranges its features, and whether it takes their logarithm later.

    Raises:
        FramiError: in no arrangement they are the card's.
    """
    differences = {}
    for arrangement, arrange in ARRANGEMENTS.items():
        arranged = [arrange(features) for features in ours]
        if any(mine.shape != other.shape for mine, other in zip(arranged, theirs, strict=True)):
            continue
        differences[arrangement, False] = _largest(arranged, theirs)
        if spec.plain and spec.normalisation.kind == "none" and all(bool((other >= 0).all()) for other in theirs):
            differences[arrangement, True] = _largest(arranged, [with_logarithm(other, spec) for other in theirs])
    if not differences:
        raise FramiError(f"The module '{place}' gives {tuple(theirs[0].shape)}, and the card's front-end "
                         f"{tuple(ours[0].shape)}: {spec.rows} rows, {ours[0].shape[2]} frames.",
                         "Compare [frontend] with the network's description.")
    best = min(differences, key=lambda way: differences[way])
    allowed = FEATURES_OFF * float(torch.cat([features.flatten() for features in ours]).std())
    if not differences[best] <= allowed:
        raise FramiError(f"The card's front-end is not the network's: on test signals it differs from '{place}' by up "
                         f"to {differences[best]:.3g}, where {allowed:.2g} is allowed.",
                         "Compare [frontend] with the network's description; the largest mistakes first: log, power, "
                         "mel_scale, mel_norm, window, normalisation.")
    return best


def _largest(some: list[Tensor], others: list[Tensor]) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(some, others, strict=True))


def _check_answers(net: nn.Module, features: list[Tensor], answers: list[Tensor], place: str) -> None:
    """The network behind ``place`` answers what the whole answered, and gradients come back through it."""
    inputs = [each.clone().requires_grad_() for each in features]
    found = [clip_output(net(each), 1, expected.shape[1]).float()
             for each, expected in zip(inputs, answers, strict=True)]
    largest = _largest([each.detach() for each in found], answers)
    if not largest <= ANSWERS_OFF * max(1.0, *(float(each.abs().max()) for each in answers)):
        raise FramiError(f"Given the features that '{place}' makes, the network answers otherwise than given the "
                         f"waveform: by up to {largest:.3g}.",
                         "Something else in it hears the waveform. Name a module behind all of that: --features-at.")
    if not found[0].requires_grad:
        raise FramiError(f"No gradient comes back to '{place}': the network cuts it off behind it (torch.no_grad, "
                         "detach).", "Name the last module before the layers with weights: --features-at.")
