"""How well a model recognises real recordings. An exported model needs no torch here."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frami_edge.audio import batches_of_equal_length, in_memory, read_clip
from frami_edge.datasets import Clip
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.runtime.classifier import Classifier, softmax
from frami_edge.runtime.clips import pieces
from frami_edge.runtime.session import TORCH_MAGIC
from frami_edge.runtime.stream import ranked

Array = np.ndarray[Any, np.dtype[Any]]

BATCH = 32


@dataclass(frozen=True)
class Model:
    """Anything that classifies clips: an exported model, a student, a vendor's teacher."""

    labels: tuple[str, ...]
    clip: Mapping[str, Any]  # the card's [clip] table
    logits: Callable[[Array], Array]  # (batch, samples), prepared -> (batch, classes)


@dataclass(frozen=True)
class Evaluation:
    """``confusion[i, j]``: how many clips of class i were taken for class j; ``logits``: (clips, classes)."""

    labels: tuple[str, ...]
    confusion: Array
    logits: Array

    @property
    def predicted(self) -> tuple[int, ...]:
        """What each clip was taken for."""
        return tuple(self.logits.argmax(axis=1).tolist())

    @property
    def n(self) -> int:
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        return self.correct / self.n

    @property
    def per_class(self) -> list[tuple[str, int, int]]:
        """(label, correct, clips) of each class that has clips."""
        counts = zip(self.labels, self.confusion.diagonal(), self.confusion.sum(axis=1), strict=True)
        return [(label, int(correct), int(n)) for label, correct, n in counts if n]

    @property
    def confusions(self) -> list[tuple[str, str, int]]:
        """(label, taken for, how often), the most frequent first."""
        wrong = [(self.labels[i], self.labels[j], int(self.confusion[i, j]))
                 for i, j in np.argwhere(self.confusion) if i != j]
        return sorted(wrong, key=lambda entry: -entry[2])

    def agreements(self, predicted: Sequence[int]) -> int:
        """How many of the same clips another model takes for the same class."""
        return sum(ours == theirs for ours, theirs in zip(self.predicted, predicted, strict=True))

    def divergence(self, teacher: "Evaluation") -> float:
        """Mean KL(teacher || this model) over the same clips, in nats."""
        return float(divergences(teacher.logits, self.logits).mean())

    def as_dict(self) -> dict[str, Any]:
        low, high = wilson_interval(self.correct, self.n)
        return {"n": self.n, "correct": self.correct, "accuracy": self.accuracy, "interval_95": [low, high],
                "per_class": {label: {"correct": correct, "n": n} for label, correct, n in self.per_class},
                "labels": list(self.labels), "confusion": self.confusion.tolist()}


def wilson_interval(correct: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson 1927): what n clips can tell about all others."""
    share, z2 = correct / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def divergences(teacher: Array, student: Array) -> Array:
    """KL(teacher || student) of each clip in nats (clips,), from two (clips, classes) of logits."""
    theirs, ours = (log_softmax(logits) for logits in (teacher, student))
    each: Array = (np.exp(theirs) * (theirs - ours)).sum(axis=1)
    return np.maximum(each, 0)  # what rounding leaves of zero


def log_softmax(logits: Array) -> Array:
    """Logarithms of the probabilities along the last axis, float64; finite where :func:`softmax` underflows."""
    above = np.asarray(logits, dtype=np.float64) - np.max(logits, axis=-1, keepdims=True)
    return above - np.log(np.exp(above).sum(axis=-1, keepdims=True))


def evaluate(model: Model, clips: Sequence[Clip], report: Callable[[int], object] = lambda done: None) -> Evaluation:
    """Classify ``clips``, whose labels are indices into ``model.labels``.

    Args:
        report: called with the number of clips done.

    Raises:
        FramiError: there are no clips, one cannot be read, or the model gives NaN.
    """
    if not clips:
        raise FramiError("There are no recordings to evaluate on.")
    confusion = np.zeros((len(model.labels), len(model.labels)), dtype=np.int64)
    heard = np.empty((len(clips), len(model.labels)), dtype=np.float32)
    first = 0
    for waves in in_memory(read_clip(clip.path, model.clip) for clip in clips):
        done = first
        for indices in batches_of_equal_length(waves, BATCH):
            logits = _heard(model, [waves[index] for index in indices])
            for index, row in zip(indices, logits, strict=True):
                _check(row, clips[first + index].path)
            heard[[first + index for index in indices]] = logits
            done += len(indices)
            report(done)
        first += len(waves)
    np.add.at(confusion, (np.array([clip.label for clip in clips]), heard.argmax(axis=1)), 1)
    return Evaluation(model.labels, confusion, heard)


def predict(model: Model, path: Path, top: int = 3) -> list[tuple[str, float]]:
    """The ``top`` most likely labels of one recording with their probabilities, the likeliest first."""
    logits = _heard(model, [read_clip(path, model.clip)])
    _check(logits, path)
    return ranked(model.labels, softmax(logits)[0], top)


def _heard(model: Model, waves: Sequence[Array]) -> Array:
    """Logits (clips, classes) of waveforms of one length; of longer ones than go through at once, see below."""
    if len(pieces(waves[0], model.clip)) == 1:
        return model.logits(np.stack(waves))
    return np.concatenate([_heard_in_pieces(model, pieces(wave, model.clip)) for wave in waves])


def _heard_in_pieces(model: Model, long: Iterable[Array]) -> Array:
    """The logarithm of the mean probabilities of a clip's pieces (1, classes): logits that mean the same."""
    each = np.concatenate([log_softmax(model.logits(piece[None])) for piece in long])
    mean: Array = np.logaddexp.reduce(each, axis=0, keepdims=True) - np.log(len(each))
    return mean


def open_model(path: Path, *, card: Path | None = None, arch: str | None = None, trust: bool = False,
               threads: int = 1) -> Model:
    """An exported model, a frami-edge checkpoint or a vendor's teacher, told apart by their first bytes.

    Args:
        card, arch, trust: for a teacher, as :func:`frami_edge.teacher.opening.open_teacher` takes them.
        threads: that ONNX Runtime may use.
    """
    if Path(path).is_file():
        with open(path, "rb") as handle:
            start = handle.read(4)
        if start.startswith(TORCH_MAGIC):
            return _open_torch(path, card, arch, trust)
    if card or arch:
        raise FramiError(f"--card and --arch say how to open a teacher, and {path} is no PyTorch file.",
                         "Leave them out: an exported model holds both.", exit_code=EXIT_USAGE)
    classifier = Classifier(path, threads)  # and its error for a file that is missing or neither
    return Model(classifier.labels, classifier.metadata.clip, classifier.logits)


def torch_model(network: Any, card: Any) -> Model:
    """A PyTorch network of normalised log-Mels, with its card, in float32 on the CPU.

    Args:
        network: :class:`frami_edge.teacher.taps.Teacher` or :class:`frami_edge.networks.base.Network`, in eval mode.
        card: its :class:`frami_edge.card.TeacherCard`.
    """
    import torch

    from frami_edge.frontend import MelFrontend

    frontend = MelFrontend.from_card(card)

    def logits(waves: Array) -> Array:
        with torch.inference_mode():
            return network(frontend(torch.from_numpy(waves))).float().numpy()

    return Model(card.labels, card.clip.model_dump(), logits)


def _open_torch(path: Path, card: Path | None, arch: str | None, trust: bool) -> Model:
    try:
        from frami_edge.teacher.opening import open_teacher
    except ModuleNotFoundError as error:
        raise FramiError(f"{path} is a PyTorch file, and {error.name} is not installed here.",
                         "pip install 'frami-edge[distill]', or export it to ONNX where it is.") from error
    opened = open_teacher(Path(path), card=card, arch=arch, trust=trust)
    return torch_model(opened.teacher, opened.card)


def _check(logits: Array, path: Path) -> None:
    if not np.isfinite(logits).all():
        raise FramiError(f"The model gives NaN or infinity for {path}.",
                         "Its weights may be damaged, or it divides by zero where a recording is silent.")
