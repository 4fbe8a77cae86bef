"""Weights stored in half precision: half the file, computed in float32 all the same.

Each weight becomes a float16 constant and a Cast, which ONNX Runtime folds when it loads the file. The front-end stays
as it is: a CPU gains no speed from float16, and quiet frames' power spectra lie below its smallest number.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from frami_edge.errors import FramiError

SMALLEST = 64  # weights; of fewer, names and nodes take more than is saved
LARGEST = float(np.finfo(np.float16).max)


def halve(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose network's weights are float16.

    Raises:
        FramiError: a weight is beyond what float16 holds (65504).
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(graph)
    nodes = halved.graph.node
    frontend = _frontend_weights(nodes)
    for tensor in list(halved.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or tensor.name in frontend:
            continue
        value = numpy_helper.to_array(tensor)
        if value.size < SMALLEST:
            continue
        if np.abs(value).max() > LARGEST:
            raise FramiError(f"The weight {tensor.name} reaches {np.abs(value).max():.3g}; float16 ends at "
                             f"{LARGEST:g}.", "Export it in float32.")
        stored = f"{tensor.name}.half"
        nodes.insert(0, helper.make_node("Cast", [stored], [tensor.name], name=f"{tensor.name}.cast",
                                         to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), stored))
    onnx.checker.check_model(halved, full_check=True)
    return halved


def _frontend_weights(nodes: "list[onnx.NodeProto]") -> set[str]:
    """The names of all values that the log-Mel is made of."""
    needed = {"log_mel"}
    for node in reversed(nodes):  # sorted: what makes a value comes before what uses it
        if needed.intersection(node.output):
            needed.update(node.input)
    return needed
