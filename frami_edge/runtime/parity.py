"""Parity: does the ONNX file compute what PyTorch computed? A verdict, from golden vectors, with numpy alone.

Checked for every golden vector by itself, and again in batches of two and three where vectors are equally long, at
four stages: the normalised log-Mel, the pooled statistics, the logits and the probabilities. A stage holds where

    max |ONNX Runtime - PyTorch in float64|  <=  max(TOLERANCE, 8 * max |PyTorch in float32 - PyTorch in float64|)

TOLERANCE is the promise, 1e-4 for logits. The second term makes it aware of scale and of conditioning: logits of the
order of 1000, or a pure tone under a logarithm with an offset of 1e-10, lose more than 1e-4 to float32 in any
implementation, PyTorch's included, and no other may be asked to do better. The factor allows for another order of
summation on another CPU. A mistake in the graph (another window, pooling across the batch) is off by 0.01 and more.

Of a file in ORT format only the last two stages can be seen.

The decision must agree for every vector: the top-1 class is PyTorch's, or one that PyTorch puts level with it within
twice the tolerance. No NaN passes.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from frami_edge.runtime.classifier import softmax
from frami_edge.runtime.errors import FramiError
from frami_edge.runtime.golden import STAGES, Golden, Vector
from frami_edge.runtime.graphs import with_outputs
from frami_edge.runtime.session import is_ort_format, open_session

Array = np.ndarray[Any, np.dtype[Any]]

TOLERANCE = {"log_mel": 1e-3, "pooled": 1e-4, "logits": 1e-4, "probabilities": 1e-4}
FLOAT32_MARGIN = 8
LARGEST_BATCH = 3


@dataclass(frozen=True)
class Deviation:
    """The worst vector of one stage: the one nearest to its tolerance, or furthest beyond it."""

    stage: str
    max_abs: float  # over all vectors
    max_rel: float  # error over the largest magnitude of the vector's stage, over all vectors
    worst: str  # name of the vector with the largest share of its tolerance
    worst_abs: float
    tolerance: float  # of that vector
    passed: bool


@dataclass(frozen=True)
class Parity:
    """The verdict."""

    stages: tuple[Deviation, ...]
    top1_agree: int
    top1_n: int  # vectors, each counted once for every batch it was part of
    vectors: int
    threads: int
    within_error: int  # runs that name PyTorch's class, or one that the model's own error may put before it

    @property
    def passed(self) -> bool:
        return all(stage.passed for stage in self.stages) and self.within_error == self.top1_n

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which knows neither NaN nor infinity: null there."""
        stages = [
            {key: None if isinstance(value, float) and not np.isfinite(value) else value
             for key, value in asdict(stage).items()}
            for stage in self.stages
        ]
        return {"passed": self.passed, **asdict(self), "stages": stages}


@dataclass(frozen=True)
class _Error:
    stage: str
    vector: str
    max_abs: float
    max_rel: float
    tolerance: float

    @property
    def share(self) -> float:
        """Of the tolerance; NaN counts as infinite."""
        return self.max_abs / self.tolerance if np.isfinite(self.max_abs) else np.inf


def check(content: bytes, golden: Golden, name: str, threads: int = 1) -> Parity:
    """Run a model on its golden vectors.

    Args:
        content: the bytes of the ``.onnx`` file.
        golden: its vectors.
        name: the file that an error names.
        threads: that ONNX Runtime may use.

    Raises:
        FramiError: the model cannot be opened or run at all. A wrong result is not an error but a verdict.
    """
    session = open_session(content, name, threads)
    # further outputs can keep ONNX Runtime from fusing nodes, so the logits are taken from the untouched file
    inner = () if is_ort_format(content) else STAGES[:2]
    opened = open_session(with_outputs(content, inner), name, threads) if inner else session
    errors: list[_Error] = []
    agreed, forgiven = [], []
    for batch in _batches(golden):
        waves = {"waveform": np.stack([vector.wave for vector in batch])}
        try:
            outputs = [*(opened.run(inner, waves) if inner else []), *session.run(["logits"], waves)]
        except Exception as error:
            raise FramiError(f"{name} cannot run {len(batch)} x {len(batch[0].wave)} samples: {error}") from error
        found = dict(zip((*inner, "logits"), outputs, strict=True))
        for row, vector in enumerate(batch):
            mine = {stage: _row(output, row, len(batch), vector.stages[stage]) for stage, output in found.items()}
            errors += _compare(vector, mine)
            agreed.append(_same_decision(vector, mine["logits"], TOLERANCE["logits"]))
            forgiven.append(_same_decision(vector, mine["logits"], _tolerance("logits", vector)))
    deviations = tuple(_worst(stage, errors) for stage in TOLERANCE if any(error.stage == stage for error in errors))
    return Parity(deviations, sum(agreed), len(agreed), len(golden.vectors), threads, sum(forgiven))


def _batches(golden: Golden) -> Iterator[tuple[Vector, ...]]:
    """Each vector alone, then neighbours of equal length in twos and threes."""
    for size in range(1, LARGEST_BATCH + 1):
        for _, equal in itertools.groupby(golden.vectors, key=lambda vector: len(vector.wave)):
            together = list(equal)
            for first in range(0, len(together) - size + 1, size):
                yield tuple(together[first : first + size])


def _row(output: Array, row: int, rows: int, expected: Array) -> Array:
    """One vector's part of an output; NaN where a graph that mixed up the batch gave another number of rows."""
    return output[row] if len(output) == rows else np.full_like(expected, np.nan)


def _compare(vector: Vector, found: dict[str, Array]) -> list[_Error]:
    expected = {**vector.stages, "probabilities": softmax(vector.stages["logits"])}
    found = {**found, "probabilities": softmax(found["logits"])}
    return [_error(stage, vector, found[stage], expected[stage]) for stage in TOLERANCE if stage in found]


def _error(stage: str, vector: Vector, found: Array, expected: Array) -> _Error:
    if found.shape != expected.shape:
        max_abs = max_rel = np.inf
    else:
        max_abs = float(np.abs(found - expected.astype(np.float64)).max())
        max_rel = max_abs / max(float(np.abs(expected).max()), 1e-12)
    return _Error(stage, vector.name, max_abs, max_rel, _tolerance(stage, vector))


def _tolerance(stage: str, vector: Vector) -> float:
    # a probability moves by at most half of what the logits move by
    own = vector.float32_error["logits" if stage == "probabilities" else stage]
    return max(TOLERANCE[stage], FLOAT32_MARGIN * own)


def _same_decision(vector: Vector, logits: Array, tolerance: float) -> bool:
    """Whether it is PyTorch's, or one that logits off by ``tolerance`` cannot tell from it."""
    expected = vector.stages["logits"]
    if logits.shape != expected.shape or not np.isfinite(logits).all():
        return False
    return bool(expected.max() - expected[int(logits.argmax())] <= 2 * tolerance)


def _worst(stage: str, errors: list[_Error]) -> Deviation:
    errors = [error for error in errors if error.stage == stage]
    worst = max(errors, key=lambda error: error.share)
    max_abs = float(np.max([error.max_abs for error in errors]))  # np.max, because max() may lose a NaN
    max_rel = float(np.max([error.max_rel for error in errors]))
    return Deviation(stage, max_abs, max_rel, worst.vector, worst.max_abs, worst.tolerance, bool(worst.share <= 1))
