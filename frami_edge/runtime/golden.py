"""Golden vectors: waveforms with the float64 results of PyTorch, so that a device proves parity without PyTorch.

Samples are kept as int16 (exact in float32 after division by 32768), results as they compress well: docs/formats.md.
"""

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frami_edge.runtime.errors import FramiError

Array = np.ndarray[Any, np.dtype[Any]]

SCHEMA = 1
STAGES = ("log_mel", "pooled", "logits")  # outputs of the graph that parity is checked at, in its order
FULL_SCALE = 32768.0


@dataclass(frozen=True)
class Vector:
    """One waveform and what PyTorch made of it."""

    name: str
    wave: Array  # (samples,) float32, multiples of 1 / 32768
    stages: dict[str, Array]  # log_mel (n_mels, frames), pooled (2 * features,), logits (classes,); from float64
    float32_error: dict[str, float]  # largest error of PyTorch's own float32 run against those, per stage


@dataclass(frozen=True)
class Golden:
    """The vectors of one student."""

    student_sha256: str  # of the checkpoint; equal to the model's provenance
    vectors: tuple[Vector, ...]

    def to_bytes(self) -> bytes:
        """The ``.npz`` file. The same vectors give the same bytes."""
        vectors = self.vectors
        log_mels = [vector.stages["log_mel"] for vector in vectors]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            schema=np.int64(SCHEMA),
            student_sha256=np.array(self.student_sha256),
            names=np.array([vector.name for vector in vectors]),
            samples=np.array([len(vector.wave) for vector in vectors]),
            waves=np.concatenate([np.round(vector.wave * FULL_SCALE).astype(np.int16) for vector in vectors]),
            frames=np.array([log_mel.shape[1] for log_mel in log_mels]),
            log_mel=np.concatenate(log_mels, axis=1).astype(np.float32),
            pooled=np.stack([vector.stages["pooled"] for vector in vectors]).astype(np.float32),
            logits=np.stack([vector.stages["logits"] for vector in vectors]).astype(np.float64),
            float32_error=np.array([[vector.float32_error[stage] for stage in STAGES] for vector in vectors]),
        )
        return buffer.getvalue()


def path_beside(model: Path) -> Path:
    """Where the golden vectors of ``student.onnx`` lie: ``student.golden.npz``."""
    return model.with_suffix(".golden.npz")


def read(path: Path) -> Golden:
    """Read a ``.golden.npz``; anything else is a :class:`FramiError`."""
    if not path.is_file():
        raise FramiError(f"There are no golden vectors {path}.",
                         "'frami-edge export' writes them beside the model: copy both, or say --no-parity.")
    try:
        with np.load(path, allow_pickle=False) as content:
            return _unpack({name: content[name] for name in content.files})
    except (OSError, ValueError, KeyError, EOFError, IndexError, TypeError, AttributeError, RuntimeError, MemoryError,
            zipfile.BadZipFile, zlib.error) as error:
        raise FramiError(f"{path} cannot be read as golden vectors ({error}).",
                         "It may be damaged: copy it again from where the model was exported.") from error


def _unpack(content: dict[str, Array]) -> Golden:
    if int(content["schema"]) != SCHEMA:
        raise ValueError(f"schema {int(content['schema'])}, this version reads {SCHEMA}")
    waves = np.split(content["waves"].astype(np.float32) / np.float32(FULL_SCALE), np.cumsum(content["samples"])[:-1])
    log_mels = np.split(content["log_mel"], np.cumsum(content["frames"])[:-1], axis=1)
    vectors = []
    for index, name in enumerate(content["names"]):
        stages = {"log_mel": log_mels[index], "pooled": content["pooled"][index], "logits": content["logits"][index]}
        own = dict(zip(STAGES, map(float, content["float32_error"][index]), strict=True))
        vectors.append(Vector(str(name), waves[index], stages, own))
    if not vectors:
        raise ValueError("it holds none")
    return Golden(str(content["student_sha256"]), tuple(vectors))
