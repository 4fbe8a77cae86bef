"""What a model computes and how fast the machine could, against formulas and the networks' own count."""

import time

import pytest

from frami_edge import networks
from frami_edge.networks import cost
from frami_edge.runtime import workload

SAMPLES = 8000  # half a second: 51 frames with a hop of 160


def test_macs_are_those_of_the_front_end_and_the_network(exported) -> None:
    found = workload.macs(exported.model.read_bytes(), "student.onnx", SAMPLES)
    frames, bins, window = 51, 257, 400
    frontend = frames * 2 * bins * window + frames * 2 * bins * 40  # DFT, then Mel bands of both squares
    assert found == frontend + cost.macs(networks.build("wrn16", 4, 40), 40, frames)


def test_a_profile_adds_up_to_about_a_call(exported) -> None:
    content = exported.model.read_bytes()
    nodes = workload.profile(content, "student.onnx", SAMPLES, calls=20)
    assert any(node.op == "Conv" and node.macs for node in nodes)
    assert all(node.ms >= 0 for node in nodes)
    assert len({node.name for node in nodes}) == len(nodes)
    call = sum(node.ms for node in nodes)
    assert sum(node.ms for node in nodes if node.macs) > call / 2


def test_the_gemm_rate_is_that_of_this_machine() -> None:
    product = workload.gemm(1)
    product()
    taken = []
    for _ in range(20):
        begun = time.perf_counter()
        product()
        taken.append(time.perf_counter() - begun)
    assert 0.5e9 < workload.GEMM_MACS / min(taken) < 5e12  # a watch's core to a server's


@pytest.mark.parametrize(("op", "inputs", "outputs", "expected"), [
    ("Conv", [(1, 16, 40, 100), (32, 16, 3, 3)], [(1, 32, 20, 50)], 32 * 20 * 50 * 16 * 9),
    ("Conv", [(1, 16, 40, 100), (16, 1, 3, 3)], [(1, 16, 40, 100)], 16 * 40 * 100 * 9),  # depthwise
    ("MatMul", [(40, 514), (2, 514, 100)], [(2, 40, 100)], 2 * 40 * 100 * 514),
    ("Gemm", [(3, 1280), (1280, 10)], [(3, 10)], 3 * 10 * 1280),
    ("Relu", [(1, 16)], [(1, 16)], 0),
])
def test_macs_of_a_node(op: str, inputs: list, outputs: list, expected: int) -> None:
    assert workload._node_macs(op, inputs, outputs) == expected
