"""What the report says, read from a checkpoint and the folder of its run."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from frami_edge.checkpoints import Checkpoint
from frami_edge.distillation.verdict import Verdict
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.features import Features
from frami_edge.inversion.bank import Samples, samples_of
from frami_edge.networks import cost
from frami_edge.report import pictures, sounds
from frami_edge.runs import RunDirectory
from frami_edge.tables import to_toml

# what metrics.jsonl calls them, and what they are
SYNTHESIS = {
    "bn": "L_bn: BatchNorm gap (Eq. 4)", "class": "cross-entropy to the label",
    "input": "gap of the input's statistics", "adversarial": "L_adv: minus the disagreement",
    "contrast": "contrast (Eq. 3)", "finv": "T_finv (Eq. 2)", "chunk_class": "cross-entropy of the chunks",
    "tv": "total variation",
}
DISTILLATION = {
    "kd": "imitation of the logits (KL · T²)", "frame_reuse": "frame-level reuse (Eq. 8)",
    "utterance_reuse": "utterance-level reuse (Eq. 9)", "agreement": "agreement with the teacher",
}


class Provenance(BaseModel):
    """What a student that was distilled without recordings says of its origin, as far as it is shown."""

    teacher: str
    teacher_sha256: str
    seed: int
    compute: str
    seconds: dict[Literal["synthesis", "distillation"], float]
    verdict: Verdict
    recipe: dict[str, Any]


class Shown(NamedTuple):
    """A sample of the bank. Picture and sound are data URIs; the sound is empty where frames do not overlap."""

    picture: str
    sound: str
    heard: str  # the student's class
    probability: float


@dataclass(frozen=True)
class Contents:
    """Everything that the page shows."""

    file: str
    network: str
    parameters: int
    macs: int  # for a clip of the training length
    classes: int
    told: Provenance
    seconds: float  # of a sample
    samples: int  # in the bank
    shown: Mapping[str, Sequence[Shown]]  # by the class asked for
    with_sound: bool
    synthesis: str  # SVG, empty where nothing was noted
    alternation: str
    finish: str
    recipe: str  # TOML


def gather(file: str, student: Checkpoint, run: RunDirectory, per_class: int, most_classes: int) -> Contents:
    """Read all of it; of each class ``per_class`` samples are drawn at random, always the same ones.

    Raises:
        FramiError: the student was not distilled without recordings, or its run is not there or damaged.
    """
    if "verdict" not in student.provenance:
        raise FramiError(f"{file} was not distilled without recordings: there are no samples to show.",
                         "Give the student.pt of 'frami-edge distill'.", exit_code=EXIT_USAGE)
    try:
        told = Provenance.model_validate(student.provenance)
    except ValidationError as error:
        raise FramiError(f"What {file} says of its own origin is damaged, or of another version: {error}") from error
    bank = samples_of(run.path, told.teacher_sha256,
                      "They lie in the run folder of 'frami-edge distill', NAME.run: keep it beside the student, or "
                      "name it with --run.")
    events = run.events()
    card, network = student.card, student.network
    return Contents(
        file=file, network=network.name, parameters=cost.parameters(network),
        macs=cost.macs(network, card.frontend.rows, bank.log_mel.shape[2]), classes=card.classes, told=told,
        seconds=bank.log_mel.shape[2] * card.frontend.hop_length / card.clip.sample_rate,
        samples=len(bank.labels),
        shown=_shown(student, bank, per_class, most_classes), with_sound=sounds.overlaps(card.frontend),
        synthesis=_curves(events, "batch", "synthesis", SYNTHESIS),
        alternation=_curves(events, "batch", "distillation", DISTILLATION),
        finish=_curves(events, "finish_step", "distillation", DISTILLATION), recipe=to_toml(told.recipe))


def _shown(student: Checkpoint, bank: Samples, per_class: int, most_classes: int) -> dict[str, list[Shown]]:
    labels = student.card.labels
    order = torch.randperm(len(bank.labels), generator=torch.Generator().manual_seed(0))
    drawn = {label: order[bank.labels[order] == index][:per_class] for index, label in enumerate(labels[:most_classes])}
    loudest = float(bank.log_mel.max())
    return {label: _of_class(student, bank.log_mel[chosen].float(), loudest)
            for label, chosen in drawn.items() if len(chosen)}


def _of_class(student: Checkpoint, log_mel: Tensor, loudest: float) -> list[Shown]:
    """A class at a time: a few thousand sounds at once would take gigabytes."""
    labels, spec, sample_rate = student.card.labels, student.card.frontend, student.card.clip.sample_rate
    with torch.no_grad():
        surest = student.network(Features(spec)(log_mel)).softmax(1).max(1)
    waves = sounds.waveforms(log_mel, spec, sample_rate) if sounds.overlaps(spec) else [None] * len(log_mel)
    return [Shown(_uri("image/png", pictures.spectrogram(each, spec.log_floor, loudest)),
                  "" if wave is None else _uri("audio/wav", sounds.as_wav(wave, sample_rate)),
                  labels[int(heard)], float(probability))
            for each, wave, probability, heard in zip(log_mel, waves, *surest, strict=True)]


def _curves(events: Sequence[Mapping[str, Any]], step: str, part: str, titles: Mapping[str, str]) -> str:
    """The losses of ``part`` that were noted with a ``step``, as SVG; empty where there are none."""
    noted = {event[step]: event[part] for event in events if step in event and event.get(part)}  # resumed: once more
    panels = {title: curve for name, title in titles.items()
              if (curve := [(at, losses[name]) for at, losses in sorted(noted.items()) if name in losses])}
    return pictures.curves(panels, step.replace("_", " ").replace("finish", "finishing")) if panels else ""


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
