"""Recipes: every number that a distillation or a training depends on, in one frozen object, read from TOML.

The values live in ``recipes/`` alone; there are no defaults in the code. A recipe may also say which cell of a table it
is for: that is a :class:`Cell`, and no part of what is computed.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from frami_edge import recipe_files
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.recipe_files import names
from frami_edge.tables import PositiveInt, Table, explain, to_toml

NotNegative = Annotated[float, Field(strict=False, ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=False, gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=False, ge=0, lt=1)]
Count = Annotated[int, Field(ge=0)]


class Inversion(Table):
    """How samples are synthesized (Eqs. 1-5, Algorithm 1)."""

    method: Literal["frami", "cmi", "fastdfkd", "adi", "noise"]  # what is optimised; the weights say towards what
    batches: PositiveInt  # batches synthesized in the alternation; one per epoch
    minutes: NotNegative  # go on synthesizing for so long, however many batches that makes; 0 leaves it to `batches`
    warmup_batches: Count  # the first of them come before any distillation
    batch_size: Annotated[int, Field(ge=2)]
    steps: PositiveInt  # per batch
    first_steps: PositiveInt  # for the first batch, or after the generator is drawn anew
    refine_steps: Count  # then so many of the samples themselves, without the generator; not in the paper
    lr_refine: Positive  # of these, in standard deviations of a log-Mel
    restart: bool  # draw the generator anew for each batch, as Algorithm 1 says
    lr_generator: Positive
    lr_z: Positive
    lr_head: Positive
    lr_lengths: NotNegative  # of the lengths of clips that were padded; 0 keeps them between 0.2 and 0.95
    nz: PositiveInt
    ngf: PositiveInt
    smooth: bool  # average neighbouring frames at the end of the generator
    bn_weight: NotNegative  # alpha
    bn_momentum: Fraction
    constant_channel_limit: NotNegative  # standard deviations, of channels constant in training; 0: none
    input_weight: NotNegative  # of the input's mean and variance, where the card knows them; not in the paper
    class_weight: NotNegative  # beta
    adversarial_weight: NotNegative  # gamma
    adversarial: Literal["kl", "js"]  # KL where both agree (FRAMI, CMI), or Jensen-Shannon (DeepInversion)
    contrast_weight: NotNegative  # InfoNCE in Eq. 3
    finv_weight: NotNegative  # mean T_finv / tau in Eq. 3; time-independent sounds only
    chunk_class_weight: NotNegative  # cross-entropy of chunks to the label; time-independent only; not in the paper
    tv_weight: NotNegative  # total variation (DeepInversion)
    tau: Positive  # of the contrast
    adversarial_tau: Positive
    negatives: Count  # drawn from the bank
    min_chunks: Annotated[int, Field(ge=2)]  # K of Eq. 2
    max_chunks: Annotated[int, Field(ge=2)]
    min_chunk_frames: PositiveInt
    prepare: bool  # give samples the clip preparation of the teacher's card
    bank_samples: PositiveInt  # oldest samples leave

    @model_validator(mode="after")
    def _has_a_number_of_chunks(self) -> "Inversion":
        if self.min_chunks > self.max_chunks:
            raise ValueError(f"min_chunks = {self.min_chunks} is more than max_chunks = {self.max_chunks}")
        return self

    @model_validator(mode="after")
    def _says_steps_once(self) -> "Inversion":
        if self.restart and self.steps != self.first_steps:
            raise ValueError(f"with restart = true every batch is a first one, and steps = {self.steps} would be "
                             f"without effect: give steps and first_steps ({self.first_steps}) the same value")
        return self

    def most_chunks(self, frames: int) -> int:
        """The largest K of Eq. 2 for samples of ``frames``; 0 where they are too short for ``min_chunks``."""
        most = min(self.max_chunks, frames // self.min_chunk_frames)
        return most if most >= self.min_chunks else 0

    def generator_steps(self, batch: int) -> int:
        """Steps that batch number ``batch`` takes before it is refined; the first is 0."""
        return self.first_steps if batch == 0 or self.restart else self.steps

    def steps_of(self, batch: int) -> int:
        """Steps that it takes in all."""
        return self.generator_steps(batch) + self.refine_steps

    def planned_steps(self, batches: int) -> int:
        """Steps that the first ``batches`` batches take together."""
        return sum(self.steps_of(batch) for batch in range(batches))


class Views(Table):
    """The views that the student is trained on."""

    shortest: Annotated[float, Field(gt=0, le=1)]  # part of a clip that is kept at least; time-independent sounds
    shift: Fraction  # furthest shift, as a share of the frames; time-dependent sounds
    mask_bands: Fraction  # widest run of silenced Mel bands, as a share of all (SpecAugment)
    mask_frames: Fraction  # widest run of silenced frames
    noise: NotNegative  # standard deviation, in units of the normalised log-Mel


class Phase(Table):
    """One phase of knowledge distillation (Eqs. 6-11)."""

    steps: Count
    temperature: Positive
    lr: Positive
    muon_lr: NotNegative  # for the convolutions; 0: SGD for them too
    clip_norm: NotNegative
    frame_reuse: NotNegative  # eta
    utterance_reuse: NotNegative  # xi
    warp_bands: NotNegative  # furthest stretch of the samples along the Mel axis, as a share
    warp_frames: NotNegative  # furthest stretch along time
    splice: Fraction  # share of the batches in which samples are continued by others; time-dependent sounds
    mix: Fraction  # share of the batches in which samples are mixed in pairs
    consensus: PositiveInt  # views of a sample whose mean answer is learnt for each of them


class Distillation(Table):
    """How the student learns: a phase per synthesized batch, then a fresh student over the whole bank."""

    batch_size: Annotated[int, Field(ge=2)]
    momentum: Fraction
    weight_decay: NotNegative
    lr_reuse: Positive  # Adam, for the maps W_m and W_v
    replay: PositiveInt  # times that each pass through the teacher is used
    views: Views
    alternate: Phase  # steps per synthesized batch
    finish: Phase  # steps in all; 0 keeps the student of the alternation


class Recipe(Table):
    """A whole distillation."""

    inversion: Inversion
    distillation: Distillation

    @model_validator(mode="after")
    def _teaches(self) -> "Recipe":
        inversion, settings = self.inversion, self.distillation
        if not settings.finish.steps and (not settings.alternate.steps or (
                not inversion.minutes and inversion.batches <= inversion.warmup_batches)):
            raise ValueError("the student would never learn: there is no finishing phase (distillation.finish.steps), "
                             f"and none of the {inversion.batches} batches comes after the "
                             f"{inversion.warmup_batches} of the warm-up (inversion.warmup_batches)"
                             if settings.alternate.steps else "the student would never learn: no phase has steps")
        return self

    def to_toml(self) -> str:
        return to_toml(self.model_dump(mode="json"))


class Training(Table):
    """How a network learns from labelled recordings: `frami-edge train`."""

    epochs: Count  # 0: 40, and at least 1600 steps
    batch_size: Annotated[int, Field(ge=2)]
    lr: Positive
    muon_lr: NotNegative  # for the convolutions; 0: SGD for them too
    momentum: Fraction
    weight_decay: NotNegative
    clip_norm: NotNegative
    temperature: Positive  # with a teacher
    hard_weight: NotNegative  # with a teacher


class TrainingRecipe(Table):
    """A whole training."""

    training: Training

    def to_toml(self) -> str:
        return to_toml(self.model_dump(mode="json"))


class Cell(Table):
    """Which cell of a table a recipe is for."""

    dataset: Literal["audiomnist", "esc10", "esc50", "fsdd", "urbansound8k"]
    test: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]  # the groups that are kept from training
    kind: Literal["teacher", "student", "kd", "data-free"]
    teacher: str  # network
    student: str = ""  # network; none where the teacher itself is the cell
    tables: Annotated[tuple[str, ...], Field(strict=False)] = ()  # of the paper: table1, table2
    paper: Annotated[float, Field(strict=False, ge=0, le=100)] | None = None  # the paper's accuracy in %
    optional: bool = False  # left out unless it is asked for

    @property
    def network(self) -> str:
        """The network that the cell gives the accuracy of."""
        return self.student or self.teacher


T = TypeVar("T", bound=Table)
# the table that tells one kind of recipe from the other, and the command that takes it
ROOTS: dict[type[Table], tuple[str, str]] = {Recipe: ("inversion", "frami-edge distill"),
                                             TrainingRecipe: ("training", "frami-edge train")}


def load(name: str, overrides: list[str] | None = None) -> Recipe:
    """A distillation's recipe by name, or a TOML file by path, with ``table.key=value`` overrides.

    A recipe may say ``extends = "quick"`` and give only what differs.

    Raises:
        FramiError: no such recipe, an unknown key (the nearest is named), or a value out of range.
    """
    return parse(_values(name, overrides), f"recipe {name}")


def load_training(name: str, overrides: list[str] | None = None) -> TrainingRecipe:
    """A training's recipe; as :func:`load`."""
    return _parse(_values(name, overrides), f"recipe {name}", TrainingRecipe)


def load_any(name: str, overrides: list[str] | None = None) -> Recipe | TrainingRecipe:
    """Whichever of the two the recipe is."""
    trains = "training" in recipe_files.read(name)
    return load_training(name, overrides) if trains else load(name, overrides)


def cell(name: str) -> Cell | None:
    """The cell of a table that a recipe is for; None for a recipe of general use."""
    values = recipe_files.read(name).get("cell")
    return None if values is None else _parse(values, f"recipe {name}: cell", Cell)


def parse(table: dict[str, Any], where: str) -> Recipe:
    return _parse(table, where, Recipe)


def _values(name: str, overrides: list[str] | None) -> dict[str, Any]:
    for override in overrides or []:
        if override.strip().startswith("cell."):
            raise FramiError(f"--set {override}: [cell] says which cell of a table a recipe is for, and is not set.",
                             "A recipe file of your own may extend another one and have a [cell].",
                             exit_code=EXIT_USAGE)
    values = recipe_files.read(name, overrides)
    values.pop("cell", None)
    return values


def _parse(table: dict[str, Any], where: str, model: type[T]) -> T:
    for other, (root, command) in ROOTS.items():
        if model in ROOTS and other is not model and root in table and ROOTS[model][0] not in table:
            raise FramiError(f"{where} is for '{command}': it has a table [{root}].", exit_code=EXIT_USAGE)
    try:
        return model.model_validate(table)
    except ValidationError as error:
        known = "training" if model is TrainingRecipe else "quick"
        hint = (f"A file that another version wrote may lack it: 'frami-edge recipes {known}' gives its value."
                if error.errors()[0]["type"] == "missing" else "")
        raise FramiError(f"{where}: {explain(error, model)}", hint, exit_code=EXIT_USAGE) from error


__all__ = ["Cell", "Distillation", "Inversion", "Phase", "Recipe", "Training", "TrainingRecipe", "cell", "load",
           "load_any", "load_training", "names", "parse"]
