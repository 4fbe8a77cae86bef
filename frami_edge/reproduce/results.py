"""The result of a cell, kept with what was heard in each clip, so that cells can be compared clip by clip."""

import json
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from frami_edge.evaluation import divergences, log_softmax
from frami_edge.files import write_atomically

FILE = "cell.json"
SCHEMA = 1
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Result:
    """``truth`` and ``predicted`` are indices into ``labels``, one for each of ``clips``."""

    key: str
    recipe: str
    group: str
    arm: str
    kind: str
    teacher: str  # network, as the cell has it
    student: str  # network
    dataset: str
    test: list[str]
    seed: int
    budget: str
    values: dict[str, Any]
    labels: list[str]
    clips: list[str]  # paths below the data set's folder
    truth: list[int]
    predicted: list[int]
    logits: list[list[float]]  # (clips, classes)
    agreement: float | None  # share of the clips that the teacher takes for the same class
    seconds: float  # of training or distilling
    samples: int | None  # synthesized
    verdict: dict[str, float]  # of `frami-edge distill`, without data
    model_sha256: str
    teacher_sha256: str
    version: str
    compute: str
    given_teacher: str = ""  # what --teacher was opened as; empty where the cell's own was trained

    @property
    def right(self) -> Array:
        """Which clips were recognised, bool (clips,)."""
        return np.array(self.truth) == np.array(self.predicted)

    def agreeing(self, teacher: "Result") -> Array:
        """On which clips it names the class that ``teacher`` names, bool (clips,)."""
        return np.array(teacher.predicted) == np.array(self.predicted)

    def divergences(self, teacher: "Result") -> Array:
        """KL(teacher || this) of each clip in nats, (clips,)."""
        return divergences(np.array(teacher.logits), np.array(self.logits))

    @property
    def log_losses(self) -> Array:
        """-log of the probability of the right class of each clip, in nats, (clips,)."""
        return -log_softmax(np.array(self.logits))[np.arange(len(self.truth)), self.truth]

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    def write(self, folder: Path) -> None:
        content = {"schema": SCHEMA, "n": len(self.truth), "correct": int(self.right.sum())} | asdict(self)
        write_atomically(folder / FILE, lambda aside: aside.write_text(json.dumps(content), encoding="utf-8"))


def read(folder: Path, key: str | None = None) -> Result | None:
    """What :meth:`Result.write` wrote, where it is there, whole, and of ``key``."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        result = Result(**{field.name: content[field.name] for field in fields(Result)
                           if field.default is MISSING or field.name in content})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if key in (None, result.key) and len(result.truth) == len(result.predicted) \
        == len(result.logits) > 0 else None


def below(out: Path) -> list[Result]:
    """All results in a folder of :mod:`frami_edge.reproduce`."""
    return [result for _, result in with_folders(out)]


def with_folders(out: Path) -> list[tuple[Path, Result]]:
    """The same, each with the folder that it lies in."""
    found = ((path.parent, read(path.parent)) for path in sorted(out.glob(f"*/*/{FILE}")))
    return [(folder, result) for folder, result in found if result]
