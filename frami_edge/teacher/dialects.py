"""Whether the front-end on a card can have made what the first BatchNorm layers remember of the training data.

Synthetic sounds of many kinds go through the card's front-end and the first layers. Recordings are not known, but if no
mixture of the sounds comes near the running statistics, the front-end is another one: in decibels where the card says
ln, say, or without its normalisation.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from frami_edge.card import MelSpec, Normalisation
from frami_edge.errors import FramiError
from frami_edge.frontend import MelFrontend
from frami_edge.teacher.mixtures import Fit, first_batch_norms, fit_sounds
from frami_edge.teacher.sounds import sounds
from frami_edge.teacher.taps import Teacher

LONGEST = 2.0  # seconds of a sound, where the teacher takes any length
# gaps, measured (docs/results/teachers.md): those of right cards stay below 0.27, but for teachers trained for some
# dozen steps alone, whose statistics lag behind their weights (0.33)
SUSPICIOUS = 0.3  # worth a word where another dialect explains the statistics
UNEXPLAINED = 0.7  # worth a word where none does
SURE = 1.0  # an error where another dialect explains the statistics
AS_GOOD = 0.05  # dialects whose gaps differ by less cannot be told apart
NAMED = 3  # dialects at most
OFFSETS = (1e-6, 1e-10)
LOGS = ("ln", "log10", "db")
SAME_OUTPUT = 1e-4  # of the largest logit: outputs that differ less between clips are constant


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
            return (f"{seen}, nor any other logarithm, power or normalisation that was tried. Training data without "
                    "high frequencies, such as recordings of a lower sample rate, look like that too.")
        return f"{seen}. It looks like {'; or '.join(f'{each.words} (gap {each.gap:.2f})' for each in self.better)}."


def check_card(teacher: Teacher) -> CardCheck:
    """Compare what the card's front-end gives with what the teacher remembers.

    Raises:
        FramiError: the outputs for sounds are not finite, or the same for all sounds.
    """
    waves = card_sounds(teacher)
    _check_outputs(teacher, waves)
    layers = first_batch_norms(teacher)
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
