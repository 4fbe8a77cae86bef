"""int8: static quantization of the convolutions, calibrated by the run's own synthesized log-Mels. No recordings.

Per channel, QDQ, ranges by MinMax, UInt8 activations. Weights have 7 bits: x86 without VNNI adds two products in int16,
which overflows where weights take all 8 (a WRN-16-1 was right in 429 of 500 recordings there, with 7 bits in 450, in
float32 in 451), and at export nobody knows the device. The front-end up to the log-Mel, the pooling and the classifier
stay float32: quantized with the rest they cost a WRN-40-2 28 points of accuracy, and calibration with noise moved its
logits 13 times further than with recordings.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import shape_inference, utils
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from frami_edge.checkpoints import Checkpoint
from frami_edge.errors import FramiError
from frami_edge.exporters.graph import quiet
from frami_edge.features import Features
from frami_edge.inversion.bank import samples_of
from frami_edge.runtime.classifier import softmax
from frami_edge.runtime.session import open_session

Array = np.ndarray[Any, np.dtype[Any]]

WAVEFORM, FEATURES, OUTPUT = "waveform", "log_mel", "logits"
CALIBRATION, HELD_OUT = 256, 256  # samples, at most
BATCH = 32


class Drift(NamedTuple):
    """int8 against float32 on synthesized samples that calibration did not see."""

    calibrated_on: int
    samples: int
    agreement: float  # share with the same top-1 class
    max_probability_change: float
    max_logit_error: float


def calibration_samples(student: Checkpoint, run: Path) -> Array:
    """What the network hears, (n, rows, frames), from the bank of the run that made a student, in random order.

    Raises:
        FramiError: there is no bank, it was made from another teacher, or it holds a single sample.
    """
    samples = samples_of(run, str(student.provenance.get("teacher_sha256")),
                         "To calibrate with, they lie in the run folder of 'frami-edge distill', NAME.run: keep it "
                         "beside the student, or name it with --calibration.")
    log_mel = samples.log_mel.float().numpy()
    if len(log_mel) < 2:
        raise FramiError("One synthesized sample is too few to calibrate with.")
    order = np.random.default_rng(0).permutation(len(log_mel))[: CALIBRATION + HELD_OUT]
    heard: Array = Features(student.card.frontend)(torch.from_numpy(log_mel[order])).numpy()
    return heard


def quantize(graph: onnx.ModelProto, samples: Array, clip_samples: int) -> tuple[onnx.ModelProto, Drift]:
    """The graph with int8 convolutions behind the front-end, and what that changes.

    Args:
        graph: float32, as :func:`frami_edge.exporters.graph.build_graph` gives it.
        samples: normalised log-Mels (n, n_mels, frames), two at least; half calibrate, the others are for the drift.
        clip_samples: waveform samples of a clip that has so many frames.
    """
    half = min(CALIBRATION, len(samples) // 2)
    inferred = utils.Extractor(shape_inference.infer_shapes(graph))
    front = inferred.extract_model([WAVEFORM], [FEATURES])
    # the backbone asks the waveform for its shape alone
    back = inferred.extract_model([WAVEFORM, FEATURES], [OUTPUT])
    quantized = _quantized(back, Feed(samples[:half], clip_samples))
    joined = _joined(graph, front, quantized)
    return joined, drift(back, quantized, Feed(samples[half:], clip_samples), half)


def _joined(graph: onnx.ModelProto, front: onnx.ModelProto, back: onnx.ModelProto) -> onnx.ModelProto:
    """``graph`` with the nodes and weights of both; what both hold is taken once."""
    joined = onnx.ModelProto()
    joined.CopyFrom(graph)
    made = {name for node in front.graph.node for name in node.output}
    nodes = [*front.graph.node, *(node for node in back.graph.node if not made.intersection(node.output))]
    weights = {tensor.name: tensor for part in (front, back) for tensor in part.graph.initializer}
    del joined.graph.node[:], joined.graph.initializer[:]
    joined.graph.node.extend(nodes)
    joined.graph.initializer.extend(weights.values())
    onnx.checker.check_model(joined, full_check=True)
    return joined


def drift(float32: onnx.ModelProto, int8: onnx.ModelProto, feed: "Feed", calibrated_on: int) -> Drift:
    """Compare two backbones on the samples of ``feed``."""
    theirs, ours = (_logits(model, feed) for model in (float32, int8))
    changes = np.abs(np.stack([softmax(row) for row in theirs]) - np.stack([softmax(row) for row in ours]))
    return Drift(calibrated_on, len(theirs), float((theirs.argmax(1) == ours.argmax(1)).mean()),
                 float(changes.max()), float(np.abs(theirs - ours).max()))


def _logits(model: onnx.ModelProto, feed: "Feed") -> Array:
    session = open_session(model.SerializeToString(), "the backbone")
    return np.concatenate([session.run([OUTPUT], batch)[0] for batch in feed.batches()])


class Feed(CalibrationDataReader):
    """Log-Mels (n, n_mels, frames) in batches, each with a waveform of their length, as the backbone takes them."""

    def __init__(self, samples: Array, clip_samples: int) -> None:
        self.samples, self.clip_samples = samples, clip_samples
        self._left = self.batches()

    def batches(self) -> Iterator[dict[str, Array]]:
        for first in range(0, len(self.samples), BATCH):
            part = np.ascontiguousarray(self.samples[first : first + BATCH], dtype=np.float32)
            yield {FEATURES: part, WAVEFORM: np.zeros((len(part), self.clip_samples), np.float32)}

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)


def _quantized(backbone: onnx.ModelProto, feed: Feed) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, written = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        onnx.save(shape_inference.infer_shapes(backbone), str(prepared))
        quantize_static(
            str(prepared), str(written), feed, quant_format=QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=["Conv"], activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            reduce_range=True, calibrate_method=CalibrationMethod.MinMax,
        )
        quantized = onnx.load(str(written))
    for annotated in (*quantized.graph.node, *quantized.graph.initializer):
        annotated.ClearField("metadata_props")
        annotated.ClearField("doc_string")
    return quantized


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's advice to preprocess: the exporter has folded what can be folded already."""
    onnxruntime.set_default_logger_severity(4)
    try:
        with quiet("root"):
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)
