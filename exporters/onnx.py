"""Export to ONNX: one graph, waveform (batch, samples) -> logits (batch, classes), both axes dynamic.

The front-end is part of the graph. The file also holds what is needed to use it (labels, sample rate, preparation)
and to trace it (hashes), and it is written only after it was shown to compute what PyTorch computes.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from frami_edge import checkpoints
from frami_edge.card import TeacherCard
from frami_edge.checkpoints import Checkpoint
from frami_edge.errors import EXIT_CHECK_FAILED, EXIT_USAGE, FramiError
from frami_edge.exporters.graph import build_graph
from frami_edge.exporters.half import halve
from frami_edge.exporters.quantize import Array, Drift, calibration_samples, quantize
from frami_edge.exporters.waveforms import golden_waveforms
from frami_edge.files import refuse_overwrite, write_atomically
from frami_edge.frontend import MelFrontend
from frami_edge.model import WaveformClassifier
from frami_edge.runtime import golden, parity
from frami_edge.runtime.classifier import softmax
from frami_edge.runtime.golden import Golden, Vector
from frami_edge.runtime.graphs import with_outputs
from frami_edge.runtime.report import parity_text
from frami_edge.runtime.session import SCHEMA, open_session, read_metadata, session_options

OPSETS = (18, 23)  # the exporter writes 18 where less is asked for, without a word
DEFAULT_OPSET = 18  # nothing in the graph gains from a newer one, and older versions of ONNX Runtime read it
MOST_HALF_CHANGE = 0.02  # of a probability by float16 weights, on the golden vectors; good students change by 0.001
VERSION = "1"  # of what the graph takes and gives


@dataclass(frozen=True)
class Int8:
    """How to quantize."""

    run: Path  # folder of the distillation, whose bank calibrates
    least_agreement: float = 0.98  # with float32, on samples that calibration did not see; below it nothing is written


@dataclass(frozen=True)
class ExportResult:
    model: Path
    golden: Path
    parity: parity.Parity
    drift: Drift | None = None  # of int8 from float32


def export_onnx(checkpoint: Path, output: Path, *, opset: int = DEFAULT_OPSET, force: bool = False,
                arch: str | None = None, trust: bool = False, int8: Int8 | None = None, half: bool = False,
                told: Callable[[str], None] = lambda line: None) -> ExportResult:
    """Write ``output`` and its golden vectors beside it.

    Args:
        checkpoint: what ``frami-edge distill`` or ``frami-edge train`` wrote.
        output: the ``.onnx`` file.
        opset: of ONNX, 18 to 23.
        force: replace files that exist.
        arch, trust: let the user's own code build the network, as :func:`frami_edge.checkpoints.load` takes them.
        int8: quantize the convolutions; None leaves the graph in float32.
        half: store the network's weights in float16; what int8 does not hold, together with it.
        told: called with a line of progress at each step.

    Raises:
        FramiError: the checkpoint cannot be used or the files exist; with exit code 1 where parity fails, or int8
            decides otherwise too often. Then nothing is written.
    """
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise FramiError(f"Opset {opset} is not possible.", f"Give {OPSETS[0]} to {OPSETS[1]}.", exit_code=EXIT_USAGE)
    if output.suffix != ".onnx":
        raise FramiError(f"{output} does not end in .onnx.", exit_code=EXIT_USAGE)
    beside = golden.path_beside(output)
    for path in (output, beside):
        refuse_overwrite(path, force)
    student = checkpoints.load(checkpoint, arch, trust)
    samples = calibration_samples(student, int8.run) if int8 else None  # before what takes long: they may be missing
    model = WaveformClassifier(MelFrontend.from_card(student.card), student.network).eval()
    told("golden vectors: PyTorch in float64")
    vectors = Golden(student.sha256, tuple(golden_vectors(model, student)))
    told("graph")
    graph = build_graph(model, opset)
    told("parity: ONNX Runtime against PyTorch")
    verdict = _checked(graph, vectors, checkpoint, output)
    drift = None
    if int8 and samples is not None:
        told("int8: calibrating with synthesized samples")
        graph, drift = _quantized(graph, samples, clip_samples(student.card, samples.shape[2]), int8, output)
    if half:
        told("float16: storing weights in half")
        graph = _halved(graph, vectors, output)
    if int8 or half:
        vectors = with_own_error(graph, vectors)
        verdict = _checked(graph, vectors, checkpoint, output)
    onnx.helper.set_model_props(graph, metadata(student, verdict, drift, half))
    content = graph.SerializeToString(deterministic=True)
    read_metadata(open_session(content, output.name), output.name)  # what is written can be opened
    write_atomically(beside, lambda aside: aside.write_bytes(vectors.to_bytes()))
    write_atomically(output, lambda aside: aside.write_bytes(content))
    return ExportResult(output, beside, verdict, drift)


def _checked(graph: onnx.ModelProto, vectors: Golden, checkpoint: Path, output: Path) -> parity.Parity:
    """The verdict, where it is good."""
    verdict = parity.check(graph.SerializeToString(), vectors, output.name)
    if not verdict.passed:
        raise FramiError(f"{output} was not written: it does not compute what {checkpoint} computes.\n"
                         + parity_text(verdict.as_dict()), "Try another --opset, and report this.",
                         exit_code=EXIT_CHECK_FAILED)
    return verdict


def _quantized(graph: onnx.ModelProto, samples: Array, length: int, int8: Int8, output: Path
               ) -> tuple[onnx.ModelProto, Drift]:
    quantized, drift = quantize(graph, samples, length)
    if drift.agreement < int8.least_agreement:
        raise FramiError(f"{output} was not written: int8 names another class than float32 on "
                         f"{1 - drift.agreement:.1%} of {drift.samples} synthesized samples.",
                         f"--min-agreement allows {1 - int8.least_agreement:.1%}. Export float32 instead.",
                         exit_code=EXIT_CHECK_FAILED)
    return quantized, drift


def clip_samples(card: TeacherCard, frames: int) -> int:
    """Samples of a waveform of which the graph makes so many frames: of a crop the card may keep fewer than it has."""
    spec = card.frontend
    if card.clip.preparation != "crop" or not spec.frames:
        return card.clip.samples
    return (frames - 1) * spec.hop_length + (0 if spec.center else spec.frame_samples)


def _halved(graph: onnx.ModelProto, vectors: Golden, output: Path) -> onnx.ModelProto:
    """With float16 weights, where those leave the answers to the golden vectors as they were."""
    halved = halve(graph)
    before, after = (open_session(each.SerializeToString(), output.name) for each in (graph, halved))
    changes = []
    for vector in vectors.vectors:
        probabilities = [softmax(session.run(["logits"], {"waveform": vector.wave[None]})[0])
                         for session in (before, after)]
        changes.append(np.abs(probabilities[0] - probabilities[1]).max())
    change = float(np.max(changes))  # np.max, because max() may lose a NaN
    if not change <= MOST_HALF_CHANGE:
        raise FramiError(f"{output} was not written: float16 weights change a probability by {change:.3f}; "
                         f"{MOST_HALF_CHANGE} is allowed.", "Export it without --fp16.", exit_code=EXIT_CHECK_FAILED)
    return halved


def with_own_error(graph: onnx.ModelProto, vectors: Golden) -> Golden:
    """The golden vectors with the error of an int8 or float16 graph in the place of PyTorch's float32 error.

    The reference stays float64. What fewer bits cost is measured here once, without the kernels of this machine: int8
    is computed in float32, so that no kernel's fault becomes a tolerance. A device is held to the same, times the
    margin that parity allows for other arithmetic. Whether it costs too much is no question of parity: the agreement
    with float32 (:func:`_quantized`, :func:`_halved`) answers it before. The front-end, float32 in every variant, keeps
    its own tolerance.
    """
    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(with_outputs(graph.SerializeToString(), golden.STAGES[:2]), "the smaller graph",
                           options=options)
    measured = []
    for vector in vectors.vectors:
        found = session.run(list(golden.STAGES), {"waveform": vector.wave[None]})
        errors = {stage: vector.float32_error[stage] if stage == "log_mel" else
                  max(vector.float32_error[stage], float(np.abs(value[0] - vector.stages[stage]).max()))
                  for stage, value in zip(golden.STAGES, found, strict=True)}
        measured.append(replace(vector, float32_error=errors))
    return Golden(vectors.student_sha256, tuple(measured))


@torch.no_grad()
def golden_vectors(model: WaveformClassifier, student: Checkpoint) -> list[Vector]:
    """The test sounds with the results of ``model`` in float64, and how far its own float32 is from these."""
    exact = copy.deepcopy(model).double()
    vectors = []
    for name, wave in golden_waveforms(student.card).items():
        single = torch.from_numpy(wave)[None]
        reference, own = exact.forward_stages(single.double()), model.forward_stages(single)
        if not all(bool(stage.isfinite().all()) for stage in reference.values()):
            raise FramiError(f"The checkpoint gives NaN or infinity for '{name}', in PyTorch already.",
                             "Its weights or its card are damaged; distill or train again.")
        errors = {stage: float((own[stage] - reference[stage]).abs().max()) for stage in golden.STAGES}
        vectors.append(Vector(name, wave, {stage: reference[stage][0].numpy() for stage in golden.STAGES}, errors))
    return vectors


def metadata(student: Checkpoint, verdict: parity.Parity, drift: Drift | None = None, half: bool = False
             ) -> dict[str, str]:
    """The file's metadata; docs/formats.md explains every entry."""
    card, name = student.card, student.network.name
    rate = card.clip.sample_rate
    structured = {
        "frami.labels": list(card.labels),
        "frami.clip": card.clip.model_dump(mode="json"),
        "frami.frontend": card.frontend.model_dump(mode="json"),
        "frami.parity": verdict.as_dict(),
        "frami.provenance": {**without_paths(student.provenance), "student_sha256": student.sha256},
    }
    if drift:
        structured["frami.quantization"] = drift._asdict()
    return {
        "model_type": name,
        "version": VERSION,
        "sample_rate": str(rate),
        "comment": f"waveform: mono float32 in [-1, 1] at {rate} Hz, (batch, samples). logits: (batch, classes).",
        "frami.schema": SCHEMA,
        "frami.precision": "int8" if drift else "float16" if half else "float32",
        **{key: _as_json(value) for key, value in structured.items()},
    }


def _as_json(value: Any) -> str:
    """As UTF-8, which programs without a JSON parser read; escaped where a label is no text."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True)
    return text


def without_paths(value: Any) -> Any:
    """JSON values with absolute paths cut to their last part: where somebody's files lie is nobody's business."""
    if isinstance(value, dict):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(inner) for inner in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute():
                return kind(value).name
    return value
