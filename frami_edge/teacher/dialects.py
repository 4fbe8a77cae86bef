"""Whether the front-end on a card can have made what the first BatchNorm layers remember of the training data.

Synthetic sounds of many kinds go through the card's front-end and the first layers. In eval mode a network treats every
clip by itself, so the mean and the mean square that a mixture of sounds gives at a BatchNorm are the weighted averages
of those of the sounds. The weights are fitted to the running statistics. Recordings are not known, but if no mixture
comes near, the front-end is another one: in decibels where the card says ln, say, or without its normalisation.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frami_edge.card import MelSpec, Normalisation
from frami_edge.errors import FramiError
from frami_edge.frontend import MelFrontend
from frami_edge.teacher.sounds import sounds
from frami_edge.teacher.taps import Teacher

LAYERS = 3  # the first ones: near the front-end, and cheap to reach
LONGEST = 2.0  # seconds of a sound, where the teacher takes any length
BATCH = 16
LARGEST_SHARE = 10.0  # of a sound in a mixture, in units of an equal share: at least a tenth of the sounds take part
STEPS = 200  # of the fit
SMALLEST_VARIANCE = 1e-6  # of the layer's median; below it a channel is dead and says nothing
TOO_FAR = 900.0  # squared distance in running variances; what lies further counts as that
# gaps, measured (docs/results.md, Wrong cards): those of right cards stay below 0.06, but for teachers trained for some
# dozen steps alone, whose statistics lag behind their weights (0.33)
SUSPICIOUS = 0.3  # worth a word where another dialect explains the statistics
UNEXPLAINED = 0.7  # worth a word where none does
SURE = 1.0  # an error where another dialect explains the statistics
AS_GOOD = 0.05  # dialects whose gaps differ by less cannot be told apart
NAMED = 3  # dialects at most
OFFSETS = (1e-6, 1e-10)
LOGS = ("ln", "log10", "db")
SAME_OUTPUT = 1e-4  # of the largest logit: outputs that differ less between clips are constant


class LayerGap(NamedTuple):
    """What the best mixture gives at one BatchNorm."""

    name: str
    mean_offset: float  # root mean square over channels of (mean - running_mean) / sqrt(running_var)
    variance_ratio: float  # median over channels of variance / running_var


class Fit(NamedTuple):
    gap: float  # over all looked-at layers; 0 where a mixture gives just the running statistics
    layers: tuple[LayerGap, ...]


class Dialect(NamedTuple):
    """Another way to read the card, and how well it fits."""

    words: str
    gap: float
    changes: int  # to the card


class CardCheck(NamedTuple):
    """What was found; ``fit`` is None where no BatchNorm says anything."""

    fit: Fit | None
    better: tuple[Dialect, ...] = ()  # the other dialects that fit, those with the fewest changes first
    sure: bool = False

    @property
    def warning(self) -> str:
        """A sentence for people; empty where nothing is suspicious."""
        if self.fit is None or (not self.better and self.fit.gap < UNEXPLAINED):
            return ""
        seen = (f"what the first BatchNorm layers remember of the training data does not fit the card's front-end "
                f"(gap {self.fit.gap:.2f}; right cards stay below {SUSPICIOUS:g})")
        if not self.better:
            return f"{seen}, nor any other logarithm, power or normalisation that was tried."
        return f"{seen}. It looks like {'; or '.join(f'{each.words} (gap {each.gap:.2f})' for each in self.better)}."


class _Reached(Exception):  # noqa: N818 - not an error: the last layer of interest was reached
    pass


def check_card(teacher: Teacher) -> CardCheck:
    """Compare what the card's front-end gives with what the teacher remembers.

    Raises:
        FramiError: the outputs for sounds are not finite, or the same for all sounds.
    """
    waves = card_sounds(teacher)
    _check_outputs(teacher, waves)
    layers = _first_batch_norms(teacher)
    if not layers:
        return CardCheck(None)
    spec = teacher.card.frontend
    fit = fit_sounds(teacher, layers, _log_mels(teacher, spec, waves))
    if fit.gap < SUSPICIOUS:
        return CardCheck(fit)
    found = [Dialect(words, fit_sounds(teacher, layers, _log_mels(teacher, other, waves)).gap, _changes(spec, other))
             for words, other in alternatives(spec, teacher, waves)]
    better = _best(found, min(fit.gap / 2, SUSPICIOUS))
    return CardCheck(fit, better, bool(better) and fit.gap > SURE)


def require_plausible(teacher: Teacher) -> CardCheck:
    """:func:`check_card`, where a card that is surely wrong is a :class:`FramiError`."""
    found = check_card(teacher)
    if found.sure:
        raise FramiError(f"The card is wrong: {found.warning}",
                         "Correct log, power or normalisation in it. If it is right all the same, say --believe-card.")
    return found


def card_sounds(teacher: Teacher) -> Tensor:
    """Sounds as the card prepares them, (sounds, samples); cut to two seconds where the teacher takes any length."""
    seconds = teacher.card.clip.seconds
    shorter = teacher.taps.fixed_frames is None and seconds > LONGEST
    return torch.from_numpy(sounds(teacher.card, LONGEST if shorter else None))


def alternatives(spec: MelSpec, teacher: Teacher, waves: Tensor) -> Iterator[tuple[str, MelSpec]]:
    """Other dialects than ``spec``, with what would have to be changed in the card."""
    kinds = {"": spec.normalisation}
    if spec.normalisation.kind == "global":
        kinds[' without the normalisation'] = Normalisation()
    for log in LOGS:
        for offset in dict.fromkeys((spec.log_offset, *OFFSETS)):
            for words, normalisation in kinds.items():
                if (log, offset, words) != (spec.log, spec.log_offset, ""):
                    yield (_words(spec, log, offset) + words,
                           spec.model_copy(update={"log": log, "log_offset": offset, "normalisation": normalisation}))
    power = 1.0 if spec.power == 2.0 else 2.0
    yield f"power = {power:g}", spec.model_copy(update={"power": power})
    raw = _log_mels(teacher, spec.model_copy(update={"normalisation": Normalisation()}), waves)
    own = Normalisation(kind="global", mean=float(raw.mean()), std=float(raw.std()))  # of the sounds: a rough one
    another = "another " if spec.normalisation.kind == "global" else ""
    yield f"{another}normalisation to mean 0 and deviation 1", spec.model_copy(update={"normalisation": own})


def fit_sounds(teacher: Teacher, layers: list[str], log_mels: Tensor) -> Fit:
    """The mixture of sounds that comes nearest to the running statistics, and how near.

    In each layer the distance is sqrt(mean over channels of m^2 + (q - 1)^2), with m the mean of the mixture and q its
    mean square, both about running_mean and in units of sqrt(running_var); the gap is the root mean square over layers.

    Args:
        layers: names of BatchNorm layers, in the order in which they run.
        log_mels: normalised, (sounds, n_mels, frames).
    """
    moments = _moments(teacher, layers, log_mels)
    columns, goals = [], []
    for values in moments.values():
        channels = values.shape[1] // 2
        scale = (channels * len(moments)) ** -0.5
        columns.append(values.clamp(-TOO_FAR**0.5, TOO_FAR) * scale)
        goals.append(torch.cat([torch.zeros(channels), torch.ones(channels)]) * scale)
    matrix, goal = torch.cat(columns, 1).double(), torch.cat(goals).double()
    shares = _mixture(matrix, goal, LARGEST_SHARE / len(matrix))
    gaps = tuple(_layer_gap(name, shares @ values.double()) for name, values in moments.items())
    return Fit(float((shares @ matrix - goal).norm()), gaps)


def _best(found: list[Dialect], largest: float) -> tuple[Dialect, ...]:
    """Those that fit about as well as the best of them, if that is below ``largest``."""
    best = min(each.gap for each in found)
    if best > largest:
        return ()
    near = [each for each in found if each.gap <= best + AS_GOOD]
    return tuple(sorted(near, key=lambda each: (each.changes, each.gap))[:NAMED])


def _changes(spec: MelSpec, other: MelSpec) -> int:
    return sum(ours != theirs for ours, theirs in zip(spec.model_dump().values(), other.model_dump().values(),
                                                      strict=True))


def _words(spec: MelSpec, log: str, offset: float) -> str:
    changed = [f'log = "{log}"'] if log != spec.log else []
    changed += [f"log_offset = {offset:g}"] if offset != spec.log_offset else []
    return ", ".join(changed) or "the card's logarithm"


def _log_mels(teacher: Teacher, spec: MelSpec, waves: Tensor) -> Tensor:
    clip = teacher.card.clip
    return MelFrontend(spec, clip.sample_rate, clip.level)(waves)


@torch.no_grad()
def _check_outputs(teacher: Teacher, waves: Tensor) -> None:
    few = waves[:: max(1, len(waves) // 8)]
    logits = teacher(_log_mels(teacher, teacher.card.frontend, few))
    if not logits.isfinite().all():
        raise FramiError("The teacher's outputs for sounds through the card's front-end are not finite.",
                         "Compare log, log_offset and normalisation in the card with its description.")
    if float((logits - logits[0]).abs().max()) <= SAME_OUTPUT * max(1.0, float(logits.abs().max())):
        raise FramiError(f"The teacher gives the same output for {len(few)} different sounds through the card's "
                         "front-end.", "Its weights may be damaged or untrained, or the card's front-end is another.")


@torch.no_grad()
def _first_batch_norms(teacher: Teacher) -> list[str]:
    """The first layers, in the order in which they run, whose input has a row for each clip."""
    order: list[str] = []

    def note(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if len(inputs[0]) == 2 and name not in order:
                order.append(name)

        return hook

    handles = [module.register_forward_pre_hook(note(name)) for name, module in teacher.batch_norms().items()]
    try:
        teacher(torch.zeros(2, teacher.card.frontend.n_mels, teacher.card.frames))
    finally:
        for handle in handles:
            handle.remove()
    return order[:LAYERS]


@torch.no_grad()
def _moments(teacher: Teacher, layers: list[str], log_mels: Tensor) -> dict[str, Tensor]:
    """Mean and mean square about running_mean, in units of the running deviation: (sounds, 2 * channels) each."""
    modules = teacher.batch_norms()
    found: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str) -> Any:
        mean, variance = modules[name].running_mean, modules[name].running_var
        assert mean is not None and variance is not None
        alive = variance > SMALLEST_VARIANCE * variance.median()

        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].float().flatten(2) if inputs[0].dim() > 2 else inputs[0].float().unsqueeze(2)
            x = (x[:, alive] - mean[alive, None]) / variance[alive, None].sqrt()  # (sounds, channels, positions)
            found[name].append(torch.cat([x.mean(2), x.square().mean(2)], 1))
            if name == layers[-1]:
                raise _Reached

        return hook

    handles = [modules[name].register_forward_pre_hook(keep(name)) for name in layers]
    try:
        for batch in log_mels.split(BATCH):
            try:
                teacher(batch)
            except _Reached:
                continue
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def _layer_gap(name: str, mixed: Tensor) -> LayerGap:
    mean, square = mixed.chunk(2)
    return LayerGap(name, float(mean.square().mean().sqrt()), float((square - mean.square()).median()))


def _mixture(matrix: Tensor, goal: Tensor, largest: float) -> Tensor:
    """Shares w in [0, largest] that sum to 1 and bring w @ matrix near ``goal``: accelerated projected gradient."""
    gram, product = matrix @ matrix.T, matrix @ goal
    rate = 1 / float(torch.linalg.matrix_norm(gram, 2))
    shares = ahead = torch.full((len(matrix),), 1 / len(matrix), dtype=matrix.dtype)
    momentum = 1.0
    for _ in range(STEPS):
        following = _onto_shares(ahead - rate * (gram @ ahead - product), largest)
        after = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = following + (momentum - 1) / after * (following - shares)
        shares, momentum = following, after
    return shares


def _onto_shares(values: Tensor, largest: float) -> Tensor:
    """The nearest vector with entries in [0, largest] that sum to 1; bisection of what is taken off."""
    low, high = float(values.min()) - largest, float(values.max())
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if float((values - middle).clamp(0, largest).sum()) > 1 else (low, middle)
    return (values - high).clamp(0, largest)
