"""How much a model computes, and how fast this machine can compute that much: multiply-accumulates and GEMM rate."""

import json
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from frami_edge.runtime.graphs import matrix_product
from frami_edge.runtime.session import open_session, session_options

Array = np.ndarray[Any, np.dtype[Any]]
Shapes = list[tuple[int, ...]]

GEMM_SIZE = 512  # rows and columns: beyond it the rate of one core does not rise
GEMM_MACS = GEMM_SIZE**3
WARM_CALLS = 5  # of a profile that do not count


@dataclass(frozen=True)
class Node:
    """One node of the graph that ran."""

    name: str
    op: str
    ms: float  # median over the calls
    macs: int


def gemm(threads: int) -> Callable[[], object]:
    """One float32 matrix product of ``GEMM_MACS`` multiply-accumulates in ONNX Runtime: the machine's peak in practice,
    with the same runtime and threads as the model."""
    session = open_session(matrix_product(), "the matrix product", threads)
    numbers = np.random.default_rng(0).standard_normal((2, GEMM_SIZE, GEMM_SIZE)).astype(np.float32)
    inputs = {"a": numbers[0], "b": numbers[1]}
    return lambda: session.run(["c"], inputs)


def macs(content: bytes, name: str, samples: int) -> int:
    """Multiply-accumulates of convolutions and matrix products for one clip, front-end included.

    Counted on the graph as it is, from the shapes that really occur: the optimised one pads channels.
    """
    return sum(node.macs for node in profile(content, name, samples, calls=1, optimised=False))


def profile(content: bytes, name: str, samples: int, threads: int = 1, calls: int = 50,
            optimised: bool = True) -> list[Node]:
    """What each node of a model takes, for one clip of noise, in the order in which they run."""
    options = session_options(threads)
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wave = {"waveform": noise(samples)}
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling, options.profile_file_prefix = True, os.path.join(folder, "profile")
        session = open_session(content, name, threads, options)
        for _ in range(calls + WARM_CALLS * optimised):
            session.run(["logits"], wave)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    taken, kinds = defaultdict[str, list[float]](list), dict[str, tuple[str, int]]()
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            node, arguments = event["name"].removesuffix("_kernel_time"), event["args"]
            taken[node].append(event["dur"] / 1000)
            kinds[node] = arguments["op_name"], _node_macs(arguments["op_name"], *(
                [tuple(shape) for typed in arguments[key] for shape in typed.values()]
                for key in ("input_type_shape", "output_type_shape")))
    return [Node(node, kinds[node][0], float(np.median(times[-calls:])), kinds[node][1])
            for node, times in taken.items()]


def noise(samples: int) -> Array:
    """A clip of white noise, (1, samples)."""
    return (0.1 * np.random.default_rng(0).standard_normal((1, samples))).astype(np.float32)


def _node_macs(op: str, inputs: Shapes, outputs: Shapes) -> int:
    """Multiply-accumulates of one node from its shapes; 0 for what is neither a convolution nor a product, and for int8
    convolutions, whose weights have been packed away and have no shape any more."""
    if op in ("Conv", "FusedConv"):
        return math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if op in ("MatMul", "Gemm", "FusedMatMul", "FusedGemm"):
        return math.prod(outputs[0]) * inputs[0][-1]
    return 0
