"""Recipes: every number that a distillation depends on, in one frozen object, read from TOML.

The values live in ``recipes/*.toml`` alone; there are no defaults in the code.
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from frami_edge.errors import EXIT_USAGE, FramiError, nearest
from frami_edge.tables import PositiveInt, Table, explain, to_toml

NotNegative = Annotated[float, Field(strict=False, ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=False, gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=False, ge=0, lt=1)]
Count = Annotated[int, Field(ge=0)]


class Inversion(Table):
    """How samples are synthesized (Eqs. 1-5, Algorithm 1)."""

    method: Literal["frami", "cmi", "fastdfkd", "adi", "noise"]  # what is optimised; the weights say towards what
    batches: PositiveInt  # batches synthesized in the alternation; one per epoch
    warmup_batches: Count  # the first of them come before any distillation
    batch_size: Annotated[int, Field(ge=2)]
    steps: PositiveInt  # per batch
    first_steps: PositiveInt  # for the first batch, or after the generator is drawn anew
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
    input_weight: NotNegative  # of the input's mean and variance, in units of bn_weight; not in the paper
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

    def steps_of(self, batch: int) -> int:
        """Steps that batch number ``batch`` takes; the first is 0."""
        return self.first_steps if batch == 0 or self.restart else self.steps

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
    frame_reuse: NotNegative  # eta
    utterance_reuse: NotNegative  # xi
    mix: Fraction  # share of the batches in which samples are mixed in pairs


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

    def to_toml(self) -> str:
        return to_toml(self.model_dump(mode="json"))


def names() -> list[str]:
    """Recipes that ship with the package."""
    folder = resources.files("frami_edge.recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name: str, overrides: list[str] | None = None) -> Recipe:
    """A recipe by name, or a TOML file by path, with ``table.key=value`` overrides.

    A recipe may say ``extends = "quick"`` and give only what differs.

    Raises:
        FramiError: no such recipe, an unknown key (the nearest is named), or a value out of range.
    """
    table = _table(name, ())
    for override in overrides or []:
        _override(table, override)
    return parse(table, f"recipe {name}")


def _table(name: str, extended_by: tuple[str, ...]) -> dict[str, Any]:
    """The recipe's values, laid over those of the recipe that it extends."""
    if name in extended_by:
        raise FramiError(f"Recipes extend each other in a circle: {' -> '.join([*extended_by, name])}.",
                         exit_code=EXIT_USAGE)
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise FramiError(f"There is no recipe file {path}.", exit_code=EXIT_USAGE)
        text = path.read_text(encoding="utf-8")
    elif name in names():
        text = resources.files("frami_edge.recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    else:
        raise FramiError(f"There is no recipe '{name}'.", nearest(name, names()), exit_code=EXIT_USAGE)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FramiError(f"Recipe {name} is not valid TOML: {error}", exit_code=EXIT_USAGE) from error
    base = table.pop("extends", None)
    return table if base is None else _merged(_table(str(base), (*extended_by, name)), table)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``, table by table."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def parse(table: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise FramiError(f"{where}: {explain(error, Recipe)}", exit_code=EXIT_USAGE) from error


def _override(table: dict[str, Any], text: str) -> None:
    """Apply ``inversion.tau=0.2``; the value is read as TOML."""
    key, separator, value = text.partition("=")
    *parents, last = key.strip().split(".")
    if not separator or not parents:
        raise FramiError(f"'{text}' is not of the form table.key=value.", "For example: --set inversion.tau=0.2",
                         exit_code=EXIT_USAGE)
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise FramiError(f"'{text}': {parent} is a value, not a table.", exit_code=EXIT_USAGE)
    try:
        table[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = value.strip()  # a bare word is a string

