"""Everything that can be told about a teacher's file, with or without its card. Nothing is printed here."""

import contextlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from frami_edge import checkpoints, networks
from frami_edge.card import CARD_NAME, FILL_IN, Clip, MelSpec, TeacherCard
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.factories import call, find_factory
from frami_edge.files import renamed, sha256
from frami_edge.probing import WRAP, described, probe
from frami_edge.runtime.text import decoded
from frami_edge.teacher import inputs
from frami_edge.teacher.dialects import CardCheck, check_card
from frami_edge.teacher.fitting import fit, refuse_non_finite
from frami_edge.teacher.inputs import Layout, Lengths
from frami_edge.teacher.opening import OpenedTeacher, open_teacher
from frami_edge.teacher.program import Program
from frami_edge.teacher.reading import find_state_dicts, read_content
from frami_edge.teacher.recognising import Match, WeightsFound, describe, recognise
from frami_edge.teacher.taps import BatchNorm, Teacher, output_kind
from frami_edge.teacher.transforms import RAW, find_transforms

PROGRAM = "torch.export program"
DEAD_VARIANCE, DEAD_WEIGHT = 1e-6, 1e-4  # of the layer's median variance, of its largest weight
HOP = 160  # of the provisional card: only the number of frames matters
ALIKE = 1e-6  # outputs for different clips that differ by less, in units of the largest, are the same


class BatchNormFound(NamedTuple):
    name: str
    channels: int
    dead: int  # running variance about 0, or weight about 0


@dataclass
class NetworkFound:
    """What probing tells about a network."""

    name: str
    layers: int  # modules with weights of their own
    parameters: int
    batch_norms: list[BatchNormFound]  # that run, as far as that is known
    layouts: list[Layout]  # that it takes; the first is what the card says, or a guess
    problem: str = ""  # why it cannot be distilled as it is
    macs: int | None = None  # multiply-accumulates for one clip of ``layouts[0].frames``
    lengths: Lengths | None = None
    classes: int | None = None
    output: str = ""  # logits, softmax, log_softmax
    outputs_differ: bool = True  # between clips
    frames_at: str = ""  # the module with the frame-level state
    pooling: str = ""  # how time is pooled away behind it
    pooled_at: str = ""  # the module that sees the pooled state
    stages: list[str] = field(default_factory=list)
    quirks: list[str] = field(default_factory=list)


@dataclass
class Inspection:
    path: Path
    sha256: str
    kind: str = ""
    weights: list[WeightsFound] = field(default_factory=list)  # of a vendor's state_dicts
    matches: list[Match] = field(default_factory=list)
    architecture: str = ""  # what the network below was built by
    network: NetworkFound | None = None
    not_built: str = ""  # why there is no network
    card: TeacherCard | None = None
    card_at: str = ""  # the card's file, or "inside"; empty where there is none
    card_problem: str = ""  # what is wrong with it
    wanted: str = ""  # the architecture that it names, complete or not
    check: CardCheck | None = None  # of the card's front-end

    @property
    def card_is_wrong(self) -> bool:
        return bool(self.card_problem) or (self.check is not None and self.check.sure)


def inspect(path: Path, card: Path | None = None, arch: str | None = None, trust: bool = False) -> Inspection:
    """Open ``path`` as far as that goes, and look at what is in it.

    Args:
        card: its card, where it is not ``NAME.toml`` or ``teacher.toml`` beside it; there may be none.
        arch: what builds the network: a registered name, or ``FILE.py:FUNCTION``, which runs that code.
        trust: run code that the card or the file names.

    Raises:
        FramiError: the file cannot be read at all, or ``arch`` does not fit it.
    """
    content = read_content(path, trust)
    found = Inspection(path, sha256(path))
    if checkpoints.is_checkpoint(content):
        restored = checkpoints.restore(content, path, arch, trust)
        refuse_non_finite(restored.network, path)
        net: nn.Module | None = restored.network
        found.kind, found.architecture = f"frami-edge checkpoint, {restored.network.name}", restored.network.name
        found.card, found.card_at = restored.card, "inside"
    else:
        net = None
    if not found.card_at or card:
        _read_card(found, card)
    if net is None:
        net = _vendors_network(found, content, arch, trust)
    if net is not None:
        classes = next((each.classes for each in found.weights), None)
        found.network = look_at(net.float().eval().requires_grad_(False), found.card, found.matches, classes)
        opened = _check(found, card, arch, trust) if found.card else None
        if opened and found.card and found.card.layout == "waveform":
            found.network = look_at(opened.teacher.net, opened.card)  # what is behind its front-end
    return found


def beside(path: Path) -> Path | None:
    """The card beside ``path``, if there is one."""
    return next((each for each in (renamed(path, ".toml"), path.with_name(CARD_NAME)) if each.is_file()), None)


def look_at(net: nn.Module, card: TeacherCard | None = None, matches: list[Match] | None = None,
            classes: int | None = None) -> NetworkFound:
    """Probe a network in eval mode; ``matches`` narrows the Mel bands where there is no card, and ``classes``, the rows
    of the last matrix, says which of several outputs is meant."""
    found = NetworkFound(
        type(net).__name__, sum(1 for module in net.modules() if list(module.parameters(recurse=False))),
        networks.parameters(net), _batch_norms(net), [])
    if other := _answers_otherwise(net, card):  # before it is tried with hundreds of shapes
        found.problem = other
        return found
    found.layouts = _layouts(net, card, matches or [])
    layout = next((layout for layout in found.layouts if layout.n_mels), None)
    if layout is None:
        found.problem = (_of_waveforms(net) if found.layouts else
                         "no usual layout, number of Mel bands or length gave one row of classes for each clip")
        shape = (card.frontend.rows, card.frames) if card else (64, 101)
        if not found.layouts and (said := inputs.complaint(net, *shape)):
            found.problem += f". Of (2, 1, {shape[0]}, {shape[1]}) it says {said}"
        return found
    n_mels = layout.n_mels[0]
    found.lengths = inputs.find_lengths(net, layout, n_mels)
    output = inputs.run(net, inputs.arrange(probe(4, n_mels, layout.frames), layout.name))
    values = inputs.rows(output, 4, card.classes if card else classes)
    assert values is not None  # the layout was taken
    found.classes, found.output = values.shape[1], output_kind(values)
    found.outputs_differ = bool((values - values[0]).abs().max() > ALIKE * values.abs().max())
    found.quirks = list(filter(None, [inputs.alone_and_together(net, layout, n_mels)]))
    try:
        teacher = Teacher(net, _provisional(layout, values), card.frames_at if card else None)
    except FramiError as error:
        found.problem = error.problem
        return found
    ran, taps = teacher.batch_norms(), teacher.taps
    found.batch_norms = [each for each in found.batch_norms if each.name in ran]
    found.macs = macs_of(teacher, n_mels, layout.frames)
    found.frames_at, found.pooling, found.stages = taps.frames, taps.form.pooling, taps.stages
    found.pooled_at = taps.pooled_at.name if taps.pooled_at else ""
    return found


def _read_card(found: Inspection, card: Path | None) -> None:
    """The card named or lying beside the file; what is wrong with it is noted, not raised."""
    at = card or beside(found.path)
    if at is None:
        return
    found.card_at = str(at)
    try:
        found.card = TeacherCard.read(at)
        found.wanted = found.card.architecture
    except FramiError as error:
        found.card, found.card_problem = None, " ".join(filter(None, (error.problem, error.hint)))
        with contextlib.suppress(OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            found.wanted = str(tomllib.loads(decoded(at.read_bytes())).get("architecture", ""))


def _vendors_network(found: Inspection, content: object, arch: str | None, trust: bool) -> nn.Module | None:
    if isinstance(content, nn.Module) and arch is None:
        found.kind = PROGRAM if isinstance(content, Program) else f"whole module, {type(content).__name__}"
        refuse_non_finite(content, found.path)
        return content
    candidates = find_state_dicts(content)
    if not candidates:
        raise FramiError(f"{found.path} holds no state_dict.", "A dictionary of tensors by name is expected.")
    found.kind = "state_dict" if list(candidates) == [""] else "dictionary with a state_dict"
    found.weights = [describe(place, weights) for place, weights in candidates.items()]
    found.matches = recognise(candidates)
    wanted = arch or (found.wanted if found.wanted != FILL_IN else "") or (
        found.matches[0].architecture if len({match.architecture for match in found.matches}) == 1 else "")
    if not wanted:
        found.not_built = ("no registered network has its keys and shapes: name what builds the network, "
                           "--arch model.py:build" if not found.matches else
                           "several registered networks fit it: choose one with --arch NAME")
        return None
    if ":" in wanted and arch is None and not trust:
        found.not_built = f"its card names code, {wanted}, which was not run: read it, then say --trust"
        return None
    try:
        net, found.architecture = _build(found, wanted)
        fit(net, candidates, found.path, found.architecture)
    except FramiError as error:
        if arch is not None:
            raise
        found.card_problem = " ".join(filter(None, (error.problem, error.hint)))
        return None
    return net


def _build(found: Inspection, wanted: str) -> tuple[nn.Module, str]:
    if ":" in wanted:
        factory = find_factory(wanted, found.path.parent)
        return call(factory), str(factory)
    if found.card:
        return networks.build(wanted, found.card.classes, found.card.frontend.rows), wanted
    for match in found.matches:
        if match.architecture == wanted:
            return networks.build(wanted, match.classes, match.n_mels[0]), wanted
    networks.describe(wanted)  # an unknown name is told first
    raise FramiError(f"{found.path} does not fit {wanted} with any number of classes and Mel bands.",
                     "Leave --arch out to see which registered networks fit.", exit_code=EXIT_USAGE)


def _check(found: Inspection, card: Path | None, arch: str | None, trust: bool) -> OpenedTeacher | None:
    """Open it as distill does, and compare the card's front-end with the BatchNorm statistics."""
    try:
        if found.card_at != "inside":  # where the card names code, it has run already
            arch = arch or found.architecture or None
        opened = open_teacher(found.path, card=card, arch=arch, trust=trust)
        found.check = check_card(opened.teacher)
        return opened
    except FramiError as error:
        found.card_problem = " ".join(filter(None, (error.problem, error.hint)))
        return None


def _answers_otherwise(net: nn.Module, card: TeacherCard | None) -> str:
    """What a network gives that runs with a usual input, and with none of them gives a row for each clip; else empty.

    A tensor with another number of rows does not count: a network of one length may give that for others.
    """
    bands = (card.frontend.rows,) if card else inputs.USUAL_BANDS
    frames = card.frames if card else inputs.USUAL_FRAMES[0]
    first = ""
    for name in inputs.MEL_LAYOUTS:
        for n_mels in bands:
            x = inputs.arrange(probe(2, n_mels, frames), name)
            output = inputs.run(net, x)
            if inputs.rows(output, 2) is not None:
                return ""
            if output is not None and not (isinstance(output, Tensor) and (not output.dim() or len(output) != 2)):
                first = first or (f"given {tuple(x.shape)}, two clips of layout {name}, it gives {described(output)}: "
                                  f"not one row of classes for each. {WRAP}")
    return first if first and not inputs.takes_waveforms(net) else ""


def _of_waveforms(net: nn.Module) -> str:
    """What to do with a network that takes them."""
    with contextlib.suppress(FramiError):  # several transforms: opening says which it can be
        if find_transforms(net) is None:
            return ("it takes waveforms, and has no torchaudio transform that makes their features: where another "
                    "module of it makes log-Mels or MFCCs, write layout = \"waveform\" in its card and name that, "
                    f"features_at = \"MODULE\". {RAW}")
    return ("it takes waveforms: write layout = \"waveform\" in its card, and leave out of [frontend] what its "
            "torchaudio module says ('frami-edge distill' reads it)")


def _layouts(net: nn.Module, card: TeacherCard | None, matches: list[Match]) -> list[Layout]:
    if card is None:
        narrowed = dict.fromkeys(n for match in matches for n in match.n_mels)
        return inputs.find_layouts(net, narrowed or inputs.USUAL_BANDS)
    found = inputs.find_layouts(net, [card.frontend.rows], card.frames) or inputs.find_layouts(net)
    return sorted(found, key=lambda layout: layout.name != card.layout)


def _provisional(layout: Layout, values: Tensor) -> TeacherCard:
    """A card that says what probing needs and no more."""
    spec = MelSpec(n_mels=layout.n_mels[0], hop_length=HOP, frames=layout.frames)
    return TeacherCard(labels=tuple(map(str, range(values.shape[1]))), time_dependent=True, layout=layout.name,
                       output=output_kind(values), clip=Clip(seconds=layout.frames * HOP / 16000), frontend=spec)


def _batch_norms(net: nn.Module) -> list[BatchNormFound]:
    return [BatchNormFound(name, module.num_features, dead_channels(module)) for name, module in net.named_modules()
            if isinstance(module, BatchNorm) and module.running_var is not None]


def dead_channels(module: BatchNorm) -> int:
    """Channels whose running variance or whose weight is about 0."""
    assert module.running_var is not None
    variance = module.running_var
    dead = variance <= DEAD_VARIANCE * variance.median()
    if module.affine:
        size = module.weight.detach().abs()
        dead |= size <= DEAD_WEIGHT * size.max()
    return int(dead.sum())


def macs_of(teacher: Teacher, n_mels: int, frames: int) -> int | None:
    """Multiply-accumulates for one clip; None where it cannot be run alone."""
    try:
        return networks.macs(teacher, n_mels, frames)
    except (FramiError, RuntimeError, ValueError, IndexError):  # it does not take one clip alone
        return None


