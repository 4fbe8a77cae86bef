"""The verdict: it holds for the export, and it falls for every mistake that is put in."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from frami_edge.runtime import golden, parity
from frami_edge.runtime.golden import Golden

STAGES = ["log_mel", "pooled", "logits", "probabilities"]


@pytest.fixture(scope="module")
def vectors(exported) -> Golden:
    return golden.read(exported.golden)


def check_altered(exported, vectors: Golden, alter: Callable[[onnx.ModelProto], None]) -> parity.Parity:
    proto = onnx.load(exported.model)
    alter(proto)
    return parity.check(proto.SerializeToString(), vectors, "altered.onnx")


def change_weight(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[onnx.ModelProto], None]:
    def alter(proto: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in proto.graph.initializer if tensor.name.endswith(name))
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), tensor.name))

    return alter


def verdicts(result: parity.Parity) -> dict[str, bool]:
    return {stage.stage: stage.passed for stage in result.stages}


def test_the_export_passes(exported, vectors: Golden) -> None:
    result = parity.check(exported.model.read_bytes(), vectors, "student.onnx", threads=2)
    assert result.passed
    assert [stage.stage for stage in result.stages] == STAGES
    assert all(0 <= stage.worst_abs <= stage.tolerance for stage in result.stages)
    assert result.top1_agree == result.top1_n > result.vectors == len(vectors.vectors)
    lengths = {len(vector.wave) for vector in vectors.vectors}
    assert min(lengths) == 1
    assert max(lengths) == 160000
    assert any(length % 160 for length in lengths)


@pytest.mark.parametrize(("name", "change", "still"), [
    ("classifier.bias", lambda bias: bias + np.float32([0.001, 0, 0, 0]), ["log_mel", "pooled"]),
    ("stages.0.weight", lambda weight: weight * np.float32(1.001), ["log_mel"]),
    ("dft.window", lambda window: window * np.float32(1.005), []),
    ("dft.window", lambda window: np.roll(window, 1), []),  # one sample late
])
def test_small_mistakes_are_found(exported, vectors: Golden, name: str, change, still: list[str]) -> None:
    exact = all_exact(vectors)  # so that the tolerance is the promise itself
    assert parity.check(exported.model.read_bytes(), exact, "student.onnx").passed
    result = check_altered(exported, exact, change_weight(name, change))
    assert not result.passed
    assert [stage for stage, passed in verdicts(result).items() if passed and stage != "probabilities"] == still


def all_exact(vectors: Golden) -> Golden:
    none = dict.fromkeys(golden.STAGES, 0.0)
    sounds = [vector for vector in vectors.vectors if vector.name in ("white noise", "odd length noise", "notes")]
    return Golden(vectors.student_sha256, tuple(replace(vector, float32_error=none) for vector in sounds))


def test_nan_fails_and_is_null_in_json(exported, vectors: Golden) -> None:
    result = check_altered(exported, vectors, change_weight("classifier.bias", lambda bias: bias * np.float32(np.nan)))
    assert not result.passed
    assert result.top1_agree == 0
    as_read = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert as_read["stages"][2]["max_abs"] is None
    assert as_read["passed"] is False


def test_statistics_pooled_over_the_batch_are_found(exported, vectors: Golden) -> None:
    """One row for three clips: what an export from an example of batch 1 silently gave."""

    def pool_over_batch(proto: onnx.ModelProto) -> None:
        proto.graph.node[-1].output[0] = "each"
        proto.graph.initializer.append(numpy_helper.from_array(np.array([0]), "batch_axis"))
        proto.graph.node.append(helper.make_node("ReduceMean", ["each", "batch_axis"], ["logits"], keepdims=1))

    result = check_altered(exported, vectors, pool_over_batch)
    assert verdicts(result) == {"log_mel": True, "pooled": True, "logits": False, "probabilities": False}
    assert result.top1_agree == result.vectors  # right alone, wrong in every batch


def test_a_swapped_class_is_found(exported, vectors: Golden) -> None:
    def swap(proto: onnx.ModelProto) -> None:
        for part in ("classifier.weight", "classifier.bias"):
            change_weight(part, lambda value: np.roll(value, 1, axis=0))(proto)

    result = check_altered(exported, vectors, swap)
    assert not result.passed
    assert result.top1_agree < result.top1_n


def test_the_tolerance_follows_what_float32_can_do(vectors: Golden) -> None:
    vector = vectors.vectors[0]
    exact = replace(vector, float32_error=dict.fromkeys(golden.STAGES, 0.0))
    coarse = replace(vector, float32_error=dict.fromkeys(golden.STAGES, 0.01))
    assert [parity._tolerance(stage, exact) for stage in STAGES] == [1e-3, 1e-4, 1e-4, 1e-4]
    assert [parity._tolerance(stage, coarse) for stage in STAGES] == pytest.approx([0.08] * 4)


def test_classes_that_are_level_may_change_places(vectors: Golden) -> None:
    level = replace(vectors.vectors[0], stages={"logits": np.array([3.0, 3.00001, 1.0])})
    assert parity._same_decision(level, np.float32([3.00001, 3.0, 1.0]), 1e-4)
    assert not parity._same_decision(level, np.float32([3.0, 3.0, 3.1]), 1e-4)
