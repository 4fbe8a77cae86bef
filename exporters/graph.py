"""From a torch module to a clean ONNX graph.

Silent traps of the exporter, each kept out here and looked for by the tests: an example of batch 1 fixes the batch
or pools across it; weights go to a second file by default; every node carries a stack trace with local paths; its
optimiser, without which the graph is 1.6 times slower, takes small numbers for zero.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

import frami_edge
from frami_edge.errors import FramiError
from frami_edge.exporters.basis import compact
from frami_edge.model import WaveformClassifier
from frami_edge.runtime.golden import STAGES

OUTPUT = "logits"


class _Stages(nn.Module):
    """The classifier with its stages as outputs, so that they keep their names in the graph."""

    def __init__(self, model: WaveformClassifier) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        stages = self.model.forward_stages(waveform)
        return tuple(stages[name] for name in STAGES)


def build_graph(model: WaveformClassifier, opset: int) -> onnx.ModelProto:
    """A checked graph ``waveform (batch, samples) -> logits (batch, classes)`` with named inner values
    ``log_mel`` and ``pooled``."""
    rate = model.frontend.sample_rate
    example = 0.1 * torch.randn(2, rate + 1, generator=torch.Generator().manual_seed(0))
    try:
        with quiet("torch.onnx"):
            program = torch.onnx.export(
                _Stages(model).eval(), (example,), dynamo=True, opset_version=opset, external_data=False, verbose=False,
                input_names=["waveform"], output_names=list(STAGES),
                dynamic_shapes={"waveform": {0: Dim("batch"), 1: Dim("samples")}},
            )
    except Exception as error:  # the exporter raises its own types and torch's
        raise FramiError(f"{model.network.name} cannot be exported to opset {opset}: {error}") from error
    assert program is not None  # only the old exporter returns None
    graph = program.model_proto
    _clean(graph)
    compact(graph.graph, model.frontend.spec)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _clean(proto: onnx.ModelProto) -> None:
    """Leave what computes: one output, no stack traces, no shapes of inner values, no trace of the tool's versions
    beyond its name."""
    graph = proto.graph
    outputs = [value for value in graph.output if value.name == OUTPUT]
    del graph.output[:]
    graph.output.extend(outputs)
    graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]
    for annotated in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        annotated.ClearField("metadata_props")
        annotated.ClearField("doc_string")
    graph.name = "frami_edge"
    # the oldest that has the opset, not the newest known here: devices run older versions of ONNX Runtime
    proto.ir_version = onnx.helper.find_min_ir_version_for(list(proto.opset_import))
    proto.producer_name, proto.producer_version = "frami-edge", frami_edge.__version__


@contextlib.contextmanager
def quiet(logger_name: str) -> Iterator[None]:
    """Without the warnings and notes of a tool, none of which the user can act on."""
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
