"""Models changed and made as bytes, against the onnx package and ONNX Runtime."""

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frami_edge.runtime import graphs
from frami_edge.runtime.session import open_session

WAVE = {"waveform": np.random.default_rng(0).uniform(-1, 1, (1, 4000)).astype(np.float32)}


def test_up_to_a_value_and_not_further(exported) -> None:
    content = exported.model.read_bytes()
    part = onnx.load_from_string(graphs.up_to(content, "log_mel"))
    assert [output.name for output in part.graph.output] == ["log_mel"]
    assert len(part.graph.node) < len(onnx.load(exported.model).graph.node) / 2
    assert all(node.op_type != "Gemm" for node in part.graph.node)
    mine = open_session(part.SerializeToString(), "part").run(None, WAVE)[0]
    whole = open_session(graphs.with_outputs(content, ["log_mel"]), "whole").run(["log_mel"], WAVE)[0]
    np.testing.assert_array_equal(mine, whole)


def test_the_matrix_product() -> None:
    content = graphs.matrix_product()
    onnx.checker.check_model(onnx.load_from_string(content))
    a, b = np.random.default_rng(0).standard_normal((2, 7, 7)).astype(np.float32)
    np.testing.assert_allclose(open_session(content, "product").run(None, {"a": a, "b": b})[0], a @ b, atol=1e-5)


def test_fields_put_together_are_the_message(exported) -> None:
    content = exported.model.read_bytes()
    assert b"".join(field.raw for field in graphs.fields(content)) == content


@given(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=300))
def test_what_is_written_is_read(number: int, value: int, payload: bytes) -> None:
    first, second = graphs.fields(graphs.message(number, payload) + graphs.number(number, value))
    assert (first.number, first.payload, second.number) == (number, payload, number)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert b"".join(field.raw for field in graphs.fields(content)) == content


def test_a_cut_file_is_refused(exported) -> None:
    content = exported.model.read_bytes()
    with pytest.raises(ValueError, match="cut off"):
        graphs.up_to(content[:-100], "log_mel")
