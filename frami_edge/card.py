"""The teacher card: what a checkpoint does not say about itself (``teacher.toml``).

The keys are a contract with vendors. They also travel inside ``student.pt`` and, as JSON, inside the ONNX file.
"""

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from frami_edge.dialect import MelSpec, Normalisation
from frami_edge.errors import FramiError
from frami_edge.runtime.text import decoded
from frami_edge.tables import PositiveInt, Table, explain, to_toml

__all__ = ["CARD_NAME", "Clip", "MelSpec", "Normalisation", "TeacherCard"]

CARD_NAME = "teacher.toml"
FILL_IN = "FILL IN"  # what `frami-edge inspect` writes where it does not know


class Clip(Table):
    """How clips were brought to length and level for training; the same is done to what the student hears."""

    sample_rate: PositiveInt = 16000  # Hz
    seconds: Annotated[float, Field(strict=False, gt=0, le=3600)] = 1.0
    preparation: Literal["center-pad", "end-pad", "loop", "crop"] = "crop"
    level: Literal["none", "peak"] = "none"

    @property
    def samples(self) -> int:
        return round(self.seconds * self.sample_rate)


class TeacherCard(Table):
    """Everything about a classifier but its weights."""

    format: Literal[1] = 1
    architecture: str = ""
    labels: Annotated[tuple[str, ...], Field(strict=False, min_length=2)]
    output: Literal["logits", "log_softmax", "softmax"] = "logits"
    time_dependent: bool
    layout: Literal["B1FT", "B1TF", "BFT", "BTF", "waveform"] = "B1FT"
    features_at: str = ""
    frames_at: str = ""
    clip: Clip = Clip()
    frontend: MelSpec = MelSpec()

    @model_validator(mode="after")
    def _labels_apart(self) -> "TeacherCard":
        if twice := [label for label in dict.fromkeys(self.labels) if self.labels.count(label) > 1]:
            raise ValueError(f"labels has '{twice[0]}' {self.labels.count(twice[0])} times; each class needs its own")
        if not all(label.strip() for label in self.labels):
            raise ValueError("labels has an empty name; each class needs one")
        return self

    @model_validator(mode="after")
    def _band_below_nyquist(self) -> "TeacherCard":
        if self.layout == "waveform" and "f_max" not in self.frontend.model_fields_set:
            return self  # still to be read from the network
        if self.frontend.f_max > self.clip.sample_rate / 2:
            hint = "" if "f_max" in self.frontend.model_fields_set else (
                "; the card does not say f_max, and that is the default: write the vendor's, such as "
                f"f_max = {self.clip.sample_rate / 2} in [frontend]")
            raise ValueError(
                f"f_max {self.frontend.f_max} Hz is above half the sample rate ({self.clip.sample_rate} Hz){hint}"
            )
        return self

    @property
    def classes(self) -> int:
        return len(self.labels)

    @property
    def frames(self) -> int:
        """Frames of a clip of the training length, after ``frontend.frames`` were kept."""
        spec = self.frontend
        # centred frames have n_fft // 2 samples of padding on each side
        framed = self.clip.samples - spec.n_fft % 2 if spec.center else max(0, self.clip.samples - spec.frame_samples)
        frames = 1 + framed // spec.hop_length
        return min(frames, spec.frames) if spec.frames else frames

    @classmethod
    def parse(cls, table: dict[str, Any], where: str) -> "TeacherCard":
        """Check a parsed card. ``where`` is the file named in errors."""
        if missing := unfilled(table):
            raise FramiError(f"{where} is not complete: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} "
                             f"still to be filled in.",
                             f"Replace each \"{FILL_IN}\"; the comment beside it says what is meant, and the vendor's "
                             "training code has the values.")
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            raise FramiError(f"{where} is not a valid teacher card: {explain(error, TeacherCard)}") from error

    @classmethod
    def read(cls, path: Path) -> "TeacherCard":
        """Read ``teacher.toml``; raises :class:`FramiError` naming the file and the key."""
        try:
            table = tomllib.loads(decoded(Path(path).read_bytes()))
        except FileNotFoundError as error:
            raise FramiError(f"There is no teacher card {path}.", "A card says what a checkpoint cannot: labels, "
                             "Mel front-end, clip length. See docs/teachers.md.") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise FramiError(f"Cannot read the teacher card {path}: {error}") from error
        return cls.parse(table, str(path))

    def to_toml(self) -> str:
        """The card as TOML; :meth:`read` gives the same card again."""
        # a key that came later is left out while it says nothing: what older cards are known by (sha256) stays
        return to_toml(self.model_dump(mode="json", exclude=None if self.frames_at else {"frames_at"}))

    @property
    def sha256(self) -> str:
        """Of everything that it says; comments and the order of a file's lines are no part of it."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()


def unfilled(table: dict[str, Any], prefix: str = "") -> list[str]:
    """The keys of a parsed card that still say FILL IN, such as ``clip.sample_rate``."""
    found = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += unfilled(value, f"{prefix}{key}.")
        elif any(isinstance(each, str) and each.strip().upper() == FILL_IN
                 for each in (value if isinstance(value, list) else [value])):
            found.append(prefix + key)
    return found
