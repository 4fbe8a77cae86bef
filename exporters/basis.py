"""The DFT basis made inside the graph, from one period of a cosine and a sine.

Written out, it is half of a small student's file: 822 KB for 400 taps and an n_fft of 512. Row k, tap n is a function
of k n mod n_fft alone, times the window; ONNX Runtime computes that once, when it loads the file. Where frames are
changed one by one (Kaldi), a row is no longer of that form, and the basis stays written out.
"""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from frami_edge.card import MelSpec
from frami_edge.frontend import analysis_window, changes_frames

BASIS = "model.frontend.basis"  # the front-end's buffer, as the exporter names it


def compact_basis(graph: onnx.GraphProto, spec: MelSpec) -> None:
    """Replace the weight :data:`BASIS` (2 * bins, 1, win_length) by the nodes that compute it, where there are such."""
    if changes_frames(spec):
        return
    position = next(index for index, tensor in enumerate(graph.initializer) if tensor.name == BASIS)
    del graph.initializer[position]
    offset = (spec.n_fft - spec.win_length) // 2
    turn = 2 * np.pi / spec.n_fft * np.arange(spec.n_fft)
    constants = {
        "bins": np.arange(spec.n_fft // 2 + 1, dtype=np.int32)[:, None],
        "taps": (np.arange(spec.win_length, dtype=np.int32) + offset)[None],
        "n_fft": np.array(spec.n_fft, np.int32),
        "cosine": np.cos(turn).astype(np.float32),
        "minus_sine": (-np.sin(turn)).astype(np.float32),
        "window": analysis_window(spec).float().numpy(),
        "axis": np.array([1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, f"dft.{name}") for name, value in constants.items())
    nodes = [
        _node("Mul", ["bins", "taps"], "product"),
        _node("Mod", ["product", "n_fft"], "phase"),  # before the cosine: exact for any size
        _node("Gather", ["cosine", "phase"], "real"),
        _node("Gather", ["minus_sine", "phase"], "imaginary"),
        _node("Concat", ["real", "imaginary"], "waves", axis=0),
        _node("Mul", ["waves", "window"], "rows"),
        helper.make_node("Unsqueeze", ["dft.rows", "dft.axis"], [BASIS], name="dft.basis"),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, [f"dft.{name}" for name in inputs], [f"dft.{output}"], name=f"dft.{output}",
                            **attributes)
