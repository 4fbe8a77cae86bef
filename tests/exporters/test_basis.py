"""What the graph computes for itself is what the front-end holds."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from frami_edge.card import MelSpec
from frami_edge.exporters.basis import BANDS, BASIS, compact
from frami_edge.exporters.onnx import export_onnx
from frami_edge.frontend import MelFrontend


@pytest.mark.parametrize("spec", [
    MelSpec(n_fft=512), MelSpec(), MelSpec(n_fft=1024, win_length=1024, hop_length=256), MelSpec(power=1.0),
    MelSpec(n_fft=510, win_length=302), MelSpec(n_fft=511, win_length=301), MelSpec(n_fft=6, win_length=5, n_mels=2)])
def test_it_is_the_front_ends(spec: MelSpec) -> None:
    frontend = MelFrontend(spec, 16000)
    held = {BASIS: frontend.basis, BANDS: frontend.bands}
    outputs = [onnx.helper.make_tensor_value_info(name, 1, list(value.shape)) for name, value in held.items()]
    weights = [onnx.numpy_helper.from_array(value.numpy(), name) for name, value in held.items()]
    graph = onnx.helper.make_graph([], "constants", [], outputs, weights)
    compact(graph, spec)
    assert not {tensor.name for tensor in graph.initializer} & held.keys()
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(list(held), {})
    torch.testing.assert_close(torch.from_numpy(found[0]), frontend.basis, atol=6e-8, rtol=0)  # one rounding
    torch.testing.assert_close(torch.from_numpy(found[1]), frontend.bands, atol=0, rtol=0)


def test_the_runtime_folds_it_at_load(student: Path, tmp_path: Path) -> None:
    export_onnx(student, tmp_path / "student.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(str(tmp_path / "student.onnx"), options)
    optimized = onnx.load(tmp_path / "optimized.onnx").graph
    assert not any(node.name.startswith("dft.") for node in optimized.node)
    tensors = onnx.load(tmp_path / "student.onnx").graph.initializer
    assert sum(np.prod(tensor.dims) for tensor in tensors if tensor.name.startswith("dft.")) < 8000
    assert not {BASIS, BANDS} & {tensor.name for tensor in tensors}
