"""Weights go in whole, under the names they should have, or the user learns which keys stand in the way."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from frami_edge import networks
from frami_edge.errors import FramiError
from frami_edge.teacher.fitting import fit

FILE = Path("vendor/teacher.pt")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return networks.build("wrn16", 5).state_dict()


def fitted(candidates: dict[str, dict[str, Tensor]], classes: int = 5) -> dict[str, Tensor]:
    network = networks.build("wrn16", classes)
    fit(network, candidates, FILE, "wrn16")
    return network.state_dict()


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module.", "net.",
                                    "body.module.", "model.net.backbone."])
def test_prefixes_of_wrappers_are_taken_off(weights: dict[str, Tensor], prefix: str) -> None:
    loaded = fitted({"": {prefix + key: value for key, value in weights.items()}})
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_the_mean_that_pytorch_keeps_is_the_network(weights: dict[str, Tensor]) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(networks.build("wrn16", 5))
    loaded = fitted({"": averaged.state_dict()})
    assert all(torch.equal(loaded[key], value) for key, value in averaged.module.state_dict().items())


def test_a_file_of_no_weights_fits_nothing() -> None:
    with pytest.raises(FramiError, match="keys are missing"):
        fitted({"": {}})


@pytest.mark.parametrize("prefix", ["model.", "net.", "body.module."])
def test_what_training_kept_beside_the_network_is_left_out(weights: dict[str, Tensor], prefix: str) -> None:
    mixed = {"mel.spectrogram.window": torch.ones(400), "criterion.weight": torch.ones(5), "val_acc.tp": torch.ones(5)}
    loaded = fitted({"": mixed | {prefix + key: value for key, value in weights.items()}})
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_two_networks_under_prefixes_are_left_to_the_user(weights: dict[str, Tensor]) -> None:
    both = {f"{prefix}.{key}": value for prefix in ("student", "ema.module") for key, value in weights.items()}
    with pytest.raises(FramiError, match=r"several state_dicts that fit wrn16: state.student.\*, state.ema.module.\*"
                       ) as raised:
        fitted({"state": both})
    assert ("{key[11:]: value for key, value in torch.load(FILE)['state'].items() if key.startswith('ema.module.')}"
            in raised.value.hint)


def test_the_prefix_of_what_does_not_fit_is_told(weights: dict[str, Tensor]) -> None:
    with pytest.raises(FramiError, match=r"wrn16: classifier.weight is \(5, 1280\) in the file") as raised:
        fitted({"": {f"net.{key}": value for key, value in weights.items()}}, classes=7)
    assert "begin with 'net.'" in raised.value.hint


def test_a_name_of_very_many_parts(weights: dict[str, Tensor]) -> None:
    with pytest.raises(FramiError, match="does not fit"):
        fitted({"": {"." * 100000: torch.ones(1)}})


def test_half_precision_and_missing_counters(weights: dict[str, Tensor]) -> None:
    old = {key: value.half() for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    loaded = fitted({"": old})
    assert all(loaded[key].dtype == torch.float32 and torch.equal(loaded[key], old[key].float()) for key in old)


def test_the_one_candidate_that_fits_is_taken(weights: dict[str, Tensor]) -> None:
    network = networks.build("wrn16", 5)
    candidates = {"normalisation": {"mean": torch.zeros(1), "std": torch.ones(1)}, "state_dict": weights}
    assert fit(network, candidates, FILE, "wrn16") == "state_dict"


def test_two_that_fit_are_left_to_the_user(weights: dict[str, Tensor]) -> None:
    with pytest.raises(FramiError, match="several state_dicts that fit wrn16: model, ema") as raised:
        fitted({"model": weights, "ema.shadow": weights})
    assert "torch.load(FILE)['ema']['shadow'], 'teacher.pt')" in raised.value.hint


def test_shapes_that_differ_are_named(weights: dict[str, Tensor]) -> None:
    with pytest.raises(FramiError) as raised:
        fitted({"": weights}, classes=7)
    assert raised.value.problem.startswith(
        "vendor/teacher.pt does not fit wrn16: classifier.weight is (5, 1280) in the file and (7, 1280) in the network")
    assert "labels" in raised.value.hint


def test_missing_and_unexpected_keys_are_counted_and_named(weights: dict[str, Tensor]) -> None:
    renamed = {key.replace("classifier.", "fc."): value for key, value in weights.items()}
    with pytest.raises(FramiError, match=r"2 of \d+ keys are missing \(classifier.weight, classifier.bias\); 2 are "
                                         r"unexpected \(fc.weight, fc.bias\)"):
        fitted({"": renamed})
    with pytest.raises(FramiError, match=r"and \d+ more"):
        fitted({"": {f"{key}_body": value for key, value in weights.items()}})


def test_what_to_do_with_keys_of_a_front_end(weights: dict[str, Tensor]) -> None:
    """PANNs' checkpoints hold their front-end's beside the network's."""
    with pytest.raises(FramiError, match=r"1 are unexpected \(logmel_extractor.melW\)") as raised:
        fitted({"model": weights | {"logmel_extractor.melW": torch.ones(513, 64)}})
    assert "leave them out of the file" in raised.value.hint and "labels" not in raised.value.hint


def test_missing_statistics_are_called_by_name(weights: dict[str, Tensor]) -> None:
    bare = {key: value for key, value in weights.items() if "running_" not in key}
    with pytest.raises(FramiError, match="without its BatchNorm statistics"):
        fitted({"": bare})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(weights: dict[str, Tensor], value: float) -> None:
    broken = {key: tensor.clone() for key, tensor in weights.items()}
    broken["classifier.bias"][3] = value
    with pytest.raises(FramiError, match="NaN or infinite values in classifier.bias"):
        fitted({"": broken})


def test_a_mask_may_be_infinite_and_statistics_may_not() -> None:
    network = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
    network.register_buffer("mask", torch.zeros(4, 4))
    weights = network.state_dict() | {"mask": torch.full((4, 4), -torch.inf).triu(1)}
    fit(network, {"": weights}, FILE, "a.py:b")
    assert torch.equal(network.mask, weights["mask"])
    for broken in ({"mask": torch.full((4, 4), torch.nan)}, {"1.running_var": torch.full((3,), torch.inf)}):
        with pytest.raises(FramiError, match=f"NaN or infinite values in {next(iter(broken))}"):
            fit(network, {"": weights | broken}, FILE, "a.py:b")


def test_nothing_is_loaded_when_it_does_not_fit(weights: dict[str, Tensor]) -> None:
    network = networks.build("wrn16", 7)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(FramiError):
        fit(network, {"": weights}, FILE, "wrn16")
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_a_file_without_any(weights: dict[str, Tensor]) -> None:
    with pytest.raises(FramiError, match="holds no state_dict"):
        fit(nn.Linear(1, 1), {}, FILE, "wrn16")


def test_a_network_whose_batch_norms_do_not_count() -> None:
    network = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
    network[1].num_batches_tracked = None
    weights = {key: torch.rand_like(value) for key, value in network.state_dict().items()}
    fit(network, {"": weights}, FILE, "a.py:b")
    assert torch.equal(network[1].running_var, weights["1.running_var"])


def test_half_precision_of_everything_the_counter_included() -> None:
    network = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
    fit(network, {"": {key: value.half() for key, value in network.state_dict().items()}}, FILE, "a.py:b")


@pytest.mark.parametrize("change,told", [
    (lambda value: value.to(torch.int8), "int8"), (lambda value: value.bool(), "bool"),
    (lambda value: value.to(torch.complex64), "complex64"), (lambda value: value.to_sparse(), "float32, sparse_coo"),
    (lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), "qint8"),
    (lambda value: value.to("meta"), "float32"),
])
def test_tensors_that_would_lose_their_meaning(weights: dict[str, Tensor], change: Callable, told: str) -> None:
    with pytest.raises(FramiError, match=f"another kind than the network has: classifier.weight is {told}"):
        fitted({"": weights | {"classifier.weight": change(weights["classifier.weight"])}})


def test_buffers_that_are_not_saved_may_be_in_the_file() -> None:
    """TorchScript and exported programs hold them too."""
    network = nn.Linear(2, 3)
    network.register_buffer("window", torch.ones(4), persistent=False)
    assert fit(network, {"": {"window": torch.ones(4)} | network.state_dict()}, FILE, "a.py:b") == ""


def test_lazy_layers_take_the_shapes_of_the_weights() -> None:
    def layers(last: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Conv1d(2, 3, 1), nn.LazyBatchNorm1d(), nn.Flatten(), last)

    taught, network = layers(nn.LazyLinear(4)), layers(nn.LazyLinear(4))
    x = torch.randn(5, 2, 6)
    taught(x)
    assert fit(network, {"": taught.state_dict()}, FILE, "a.py:b") == ""
    torch.testing.assert_close(network.eval()(x), taught.eval()(x))
    with pytest.raises(FramiError, match="1 of .* missing .3.bias."):
        fit(layers(nn.LazyLinear(4)), {"": layers(nn.Linear(18, 4, bias=False)).state_dict()}, FILE, "a.py:b")
