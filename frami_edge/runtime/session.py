"""Opening an exported file: its bytes become an ONNX Runtime session and what its metadata says."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from frami_edge.runtime.clips import PREPARATIONS
from frami_edge.runtime.errors import EXIT_USAGE, FramiError

Array = np.ndarray[Any, np.dtype[Any]]

SCHEMA = "1"
ORT_FORMAT = slice(4, 8), b"ORTM"  # where a flatbuffer says what it is
TORCH_MAGIC = (b"PK\x03\x04", b"\x80")  # a zip archive, a bare pickle
MOST_THREADS = 4096
LONGEST_CLIP = 3600  # seconds, as a card allows
LFS_POINTER = b"version https://git-lfs"
DAMAGED = "It may be damaged or truncated: compare its size and SHA-256 with the original."
EXPORT_HINT = "'frami-edge export student.pt --onnx' writes such a file."
TEXT_KEYS = ("model_type", "version", "sample_rate", "comment")
JSON_KEYS = ("frami.labels", "frami.clip", "frami.frontend", "frami.parity", "frami.provenance")


@dataclass(frozen=True)
class Metadata:
    """What the file says about itself; docs/formats.md has every entry."""

    model_type: str
    sample_rate: int  # Hz
    labels: tuple[str, ...]
    clip: dict[str, Any]
    frontend: dict[str, Any]
    parity: dict[str, Any]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Model:
    """An open file. ``logits`` is the whole interface: waveform (batch, samples) -> (batch, classes)."""

    path: Path
    session: onnxruntime.InferenceSession
    metadata: Metadata

    def logits(self, waves: Array) -> Array:
        logits: Array = self.session.run(["logits"], {"waveform": waves})[0]
        return logits


def read_bytes(path: Path) -> bytes:
    """The file's bytes, after the checks that give a better message than a parser would."""
    path = Path(path)
    try:
        if not path.is_file():
            raise FramiError(f"There is no file {path}.", EXPORT_HINT)
        content = path.read_bytes()
    except OSError as error:
        raise FramiError(f"Cannot read {path}: {error}") from error
    if not content:
        raise FramiError(f"{path} is empty.", "Copy it again from where it was exported.")
    if content.startswith(LFS_POINTER):
        raise FramiError(f"{path} is a Git LFS pointer, not the model.", "Fetch it: git lfs pull.")
    return content


def is_ort_format(content: bytes) -> bool:
    """Whether a model is in ORT format, which is not protobuf: its inner values cannot be looked at."""
    where, magic = ORT_FORMAT
    return content[where] == magic


def session_options(threads: int = 1) -> onnxruntime.SessionOptions:
    """How every model here is run."""
    if not 1 <= threads <= MOST_THREADS:
        raise FramiError(f"{threads} threads are not between 1 and {MOST_THREADS}.", exit_code=EXIT_USAGE)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what goes wrong is raised, not printed
    # threads that spin while they wait cost battery, and slow down whatever else the device does
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def open_session(content: bytes, name: str, threads: int = 1,
                 options: onnxruntime.SessionOptions | None = None) -> onnxruntime.InferenceSession:
    """A session on the CPU. ``name`` is the file that an error names; ``options`` replace those of ``threads``."""
    options = options or session_options(threads)
    try:
        # without the fallback, which tries once more and tells stdout about it
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # its exceptions share no public base class
        reason = str(error).split(":")[-1].strip().rstrip(".")
        if content.startswith(TORCH_MAGIC):
            raise FramiError(f"{name} is a checkpoint of PyTorch, and an exported model is needed.",
                             f"frami-edge export {name} --onnx") from error
        raise FramiError(f"{name} cannot be opened as an ONNX model: {reason}.",
                         DAMAGED) from error


def open_model(path: Path, threads: int = 1) -> Model:
    """Open a file that ``frami-edge export`` wrote; anything else is a :class:`FramiError`."""
    path = Path(path)
    session = open_session(read_bytes(path), str(path), threads)
    metadata = read_metadata(session, str(path))
    signature = [value.name for value in session.get_inputs()], [value.name for value in session.get_outputs()]
    if signature != (["waveform"], ["logits"]):
        raise FramiError(f"{path} takes {signature[0]} and gives {signature[1]}; 'waveform' and 'logits' are needed.",
                         EXPORT_HINT)
    return Model(path, session, metadata)


def read_metadata(session: onnxruntime.InferenceSession, name: str) -> Metadata:
    """The metadata of an open session. ``name`` is the file that an error names."""
    try:
        entries = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise FramiError(f"{name} holds metadata that cannot be read: {error}.", DAMAGED) from error
    schema = entries.get("frami.schema")
    if schema is None:
        raise FramiError(f"{name} holds no frami-edge metadata (labels, sample rate, front-end).", EXPORT_HINT)
    if schema != SCHEMA:
        raise FramiError(f"{name} has metadata schema {schema}; this version reads {SCHEMA}.",
                         "Install the frami-edge version that exported it, or export it again.")
    missing = [key for key in (*TEXT_KEYS, *JSON_KEYS) if key not in entries]
    if missing:
        raise FramiError(f"{name} lacks the metadata {', '.join(missing)}.", EXPORT_HINT)
    try:
        labels, clip, *tables = (json.loads(entries[key]) for key in JSON_KEYS)
        sample_rate = int(entries["sample_rate"])
        _check_entries(labels, clip, sample_rate, session)
        if not all(isinstance(table, dict) for table in tables):
            raise ValueError(f"one of {', '.join(JSON_KEYS[2:])} is no table")
        return Metadata(entries["model_type"], sample_rate, tuple(labels), clip, *tables)
    except (ValueError, TypeError, RecursionError) as error:
        raise FramiError(f"{name} holds metadata that cannot be read: {error}.", EXPORT_HINT) from error


def _check_entries(labels: Any, clip: Any, sample_rate: int, session: onnxruntime.InferenceSession) -> None:
    """Raise ValueError where what classifying needs is not there, or of another kind."""
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError("frami.labels is no list of names")
    classes = session.get_outputs()[0].shape[-1:]
    if classes and isinstance(classes[0], int) and classes[0] != len(labels):
        raise ValueError(f"frami.labels has {len(labels)} names, and the model {classes[0]} classes")
    kinds = {"sample_rate": (int,), "seconds": (int, float), "preparation": (str,)}
    if not isinstance(clip, dict) or not all(isinstance(clip.get(key), kind) for key, kind in kinds.items()):
        raise ValueError(f"frami.clip lacks one of {', '.join(kinds)}")
    if not 0 < clip["sample_rate"] == sample_rate:
        raise ValueError(f"sample rates of {sample_rate} and {clip['sample_rate']} Hz")
    if not 0 < clip["seconds"] <= LONGEST_CLIP:
        raise ValueError(f"clips of {clip['seconds']} s")
    if clip["preparation"] not in PREPARATIONS:
        raise ValueError(f"the clip preparation '{clip['preparation']}'")
