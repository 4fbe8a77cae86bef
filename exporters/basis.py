"""The front-end's constants made inside the graph: the DFT basis and the Mel filters.

Written out, they are half of a small student's file: 822 and 82 KB for 400 taps, an n_fft of 512 and 40 Mel bands. The
graph holds one period of a cosine and of a sine, and those filter values that are not zero (one in forty); ONNX Runtime
computes the rest once, when it loads the file. Where frames are changed one by one (Kaldi), a row of the basis is no
longer of that form, and stays written out.
"""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from frami_edge.card import MelSpec
from frami_edge.frontend import analysis_window, changes_frames

BASIS, BANDS = "model.frontend.basis", "model.frontend.bands"  # the front-end's buffers, as the exporter names them


def compact(graph: onnx.GraphProto, spec: MelSpec) -> None:
    """Replace the weights :data:`BASIS` and :data:`BANDS` by the nodes that compute them."""
    if not changes_frames(spec):
        _taken_out(graph, BASIS)
        _put_in(graph, *_basis(spec))
    _put_in(graph, *_bands(_taken_out(graph, BANDS)))


Made = tuple[dict[str, np.ndarray[Any, Any]], list[onnx.NodeProto]]  # constants and nodes


def _basis(spec: MelSpec) -> Made:
    """As :func:`frami_edge.frontend.dft_basis` has it: row k, tap n is known from k n mod n_fft, times the window."""
    offset = (spec.n_fft - spec.win_length) // 2
    turn = 2 * np.pi / spec.n_fft * np.arange(spec.n_fft)
    constants = {
        "bins": np.arange(spec.n_fft // 2 + 1, dtype=np.int32)[:, None],
        "taps": (np.arange(spec.win_length, dtype=np.int32) + offset)[None],
        "n_fft": np.array(spec.n_fft, np.int32),
        # float64, rounded once at the end: a product of two rounded numbers doubled the error of the logits
        "cosine": np.cos(turn),
        "minus_sine": -np.sin(turn),
        "window": analysis_window(spec).numpy(),
        "axis": np.array([1], np.int64),
    }
    return constants, [
        _node("Mul", ["bins", "taps"], "product"),
        _node("Mod", ["product", "n_fft"], "phase"),  # before the cosine: exact for any size
        _node("Gather", ["cosine", "phase"], "real"),
        _node("Gather", ["minus_sine", "phase"], "imaginary"),
        _node("Concat", ["real", "imaginary"], "waves", axis=0),
        _node("Mul", ["waves", "window"], "exact"),
        _node("Cast", ["exact"], "rows", to=onnx.TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["dft.rows", "dft.axis"], [BASIS], name="dft.basis"),
    ]


def _bands(bands: np.ndarray[Any, Any]) -> Made:
    """The filters (n_mels, rows) from those values that are not zero."""
    places = np.stack(np.nonzero(bands), axis=1)
    constants = {"bands_shape": np.array(bands.shape), "places": places.astype(np.int16),
                 "weights": bands[tuple(places.T)]}
    return constants, [
        _node("ConstantOfShape", ["bands_shape"], "zeros"),
        _node("Cast", ["places"], "indices", to=onnx.TensorProto.INT64),
        helper.make_node("ScatterND", ["dft.zeros", "dft.indices", "dft.weights"], [BANDS], name="dft.bands"),
    ]


def _taken_out(graph: onnx.GraphProto, name: str) -> np.ndarray[Any, Any]:
    position = next(index for index, tensor in enumerate(graph.initializer) if tensor.name == name)
    value = numpy_helper.to_array(graph.initializer[position])
    del graph.initializer[position]
    return value


def _put_in(graph: onnx.GraphProto, constants: dict[str, np.ndarray[Any, Any]], nodes: list[onnx.NodeProto]) -> None:
    graph.initializer.extend(numpy_helper.from_array(value, f"dft.{name}") for name, value in constants.items())
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, [f"dft.{name}" for name in inputs], [f"dft.{output}"], name=f"dft.{output}",
                            **attributes)
