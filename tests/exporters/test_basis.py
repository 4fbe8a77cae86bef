"""The basis that the graph computes is the one that the front-end holds."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from frami_edge.card import MelSpec
from frami_edge.exporters.basis import BASIS, compact_basis
from frami_edge.exporters.onnx import export_onnx
from frami_edge.frontend import dft_basis


@pytest.mark.parametrize("n_fft,win_length", [(512, 400), (400, 400), (1024, 1024), (510, 301), (6, 5)])
def test_it_is_the_front_ends(n_fft: int, win_length: int) -> None:
    spec = MelSpec(n_fft=n_fft, win_length=win_length)
    expected = dft_basis(spec)
    output = onnx.helper.make_tensor_value_info(BASIS, 1, list(expected.shape))
    weight = onnx.numpy_helper.from_array(expected.float().numpy(), BASIS)
    graph = onnx.helper.make_graph([], "basis", [], [output], [weight])
    compact_basis(graph, spec)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run([BASIS], {})[0]
    assert found.shape == expected.shape
    torch.testing.assert_close(torch.from_numpy(found).double(), expected, atol=1.5e-7, rtol=0)


def test_the_runtime_folds_it_at_load(student: Path, tmp_path: Path) -> None:
    export_onnx(student, tmp_path / "student.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(str(tmp_path / "student.onnx"), options)
    optimized = onnx.load(tmp_path / "optimized.onnx").graph
    assert not any(node.name.startswith("dft.") for node in optimized.node)
    sizes = [np.prod(tensor.dims) for tensor in onnx.load(tmp_path / "student.onnx").graph.initializer]
    assert max(sizes) < 50_000  # no weight of the file is the basis
