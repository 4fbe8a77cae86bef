"""Weights are put into a network key by key, or not at all, and the user is told which keys stand in the way."""

import itertools
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from frami_edge.errors import FramiError
from frami_edge.teacher.program import Program

Weights = dict[str, Tensor]

PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning
DEEPEST = 6  # prefixes that are taken off one after another, at most
SHOWN = 4  # keys named in an error before "and N more"
MORE_THAN_NEEDED = (
    "The network is all there. Where the others are not needed (a front-end, another head), leave them out of the "
    "file, or let model.py make modules of these names too.")
STATISTICS = ("running_mean", "running_var")
COUNTER = "num_batches_tracked"
AVERAGED = "n_averaged"  # how many torch.optim.swa_utils.AveragedModel has taken the mean of


def fit(network: nn.Module, candidates: dict[str, Weights], path: Path, architecture: str) -> str:
    """Load the one candidate that fits ``network``, strictly; returns the name it was found under.

    Args:
        candidates: state_dicts by their place in the file, as ``reading.find_state_dicts`` gives them.
        architecture: how to call the network in errors.

    Raises:
        FramiError: none fits (keys and shapes are named), several fit, or values are not finite.
    """
    if not candidates:
        raise FramiError(f"{path} holds no state_dict.", "A dictionary of tensors by name is expected.")
    expected = network.state_dict()
    unsaved = dict(network.named_buffers()).keys() - expected.keys()  # programs hold those too
    fitting = {(place, ""): matched for place, weights in candidates.items()
               if (matched := match(weights, expected, unsaved)) is not None}
    fitting = fitting or {(place, prefix): matched for place, weights in candidates.items()
                          for prefix, matched in match_within(weights, expected, unsaved).items()}
    if len(fitting) > 1:
        named = ", ".join(".".join(filter(None, (place, f"{prefix}*" if prefix else ""))) for place, prefix in fitting)
        raise FramiError(
            f"{path} holds several state_dicts that fit {architecture}: {named}.",
            f"Keep the one that is meant: torch.save({_expression(*list(fitting)[-1])}, 'teacher.pt')",
        )
    if not fitting:
        spellings = [("", spelling) for weights in candidates.values() for spelling in _spellings(weights)]
        spellings += [each for weights in candidates.values() for each in _within(weights)]
        prefix, closest = max(spellings, key=lambda each: len(each[1].keys() & expected.keys()))
        hint = (MORE_THAN_NEEDED if _holds(closest, expected) else
                "Compare the architecture, and the number of labels and Mel bands, with the card.")
        raise FramiError(f"{path} does not fit {architecture}: {difference(closest, expected)}",
                         hint + (f" These are the keys that begin with '{prefix}', which was taken off." if prefix else
                                 ""))
    (place, _), weights = next(iter(fitting.items()))
    refuse_other_kinds(weights, expected, path)
    weights = {key: value.to(expected[key].dtype) for key, value in weights.items()}
    refuse_non_finite(network, path, weights)
    expected.update(weights)  # it also holds versions: a BatchNorm without a counter asks for one where none is said
    network.load_state_dict(expected)
    return place


def match(weights: Weights, expected: Weights, ignored: Set[str] = frozenset()) -> Weights | None:
    """``weights`` under the names of ``expected``, but for ``ignored`` ones; None where a key or a shape differs."""
    found = (_match_as_named(renamed, expected, ignored) for renamed in _spellings(weights))
    return next((matched for matched in found if matched is not None), None)


def _match_as_named(weights: Weights, expected: Weights, ignored: Set[str]) -> Weights | None:
    weights = {key: value for key, value in weights.items() if key not in ignored}
    counters = {key: value for key, value in expected.items() if key.endswith(COUNTER)}
    weights = counters | weights  # old checkpoints have none, and nothing here depends on them
    if weights.keys() == expected.keys() and all(_same_shape(weights[key], expected[key]) for key in expected):
        return {key: weights[key] for key in expected}
    return None


def match_within(weights: Weights, expected: Weights, ignored: Set[str] = frozenset()) -> dict[str, Weights]:
    """The parts of ``weights`` that are those of ``expected``, by the prefix that their names share.

    Training code keeps more than the network under names like ``net.``: a criterion, metrics, a front-end.
    """
    return {prefix: matched for prefix, part in _within(weights, _least(expected))
            if (matched := _match_as_named(part, expected, ignored)) is not None}


def same_keys(weights: Weights, expected: Weights) -> bool:
    """Whether the names are those of ``expected``, whatever the shapes."""
    counters = {key for key in expected if key.endswith(COUNTER)}
    spellings = itertools.chain(_spellings(weights), (part for _, part in _within(weights, _least(expected))))
    return any(renamed.keys() | counters == expected.keys() for renamed in spellings)


def difference(weights: Weights, expected: Weights) -> str:
    """What keeps ``weights`` from fitting: keys that are missing, unexpected, or of another shape."""
    missing = [key for key in expected if key not in weights and not key.endswith(COUNTER)]
    unexpected = [key for key in weights if key not in expected]
    reshaped = [f"{key} is {tuple(weights[key].shape)} in the file and {tuple(expected[key].shape)} in the network"
                for key in expected if key in weights and not _same_shape(weights[key], expected[key])]
    if missing and not unexpected and all(key.endswith(STATISTICS) for key in missing):
        return f"it was saved without its BatchNorm statistics ({_some(missing)}), which inversion needs."
    parts = [
        f"{len(missing)} of {len(expected)} keys are missing ({_some(missing)})" if missing else "",
        f"{len(unexpected)} are unexpected ({_some(unexpected)})" if unexpected else "",
        _some(reshaped),
    ]
    return "; ".join(part for part in parts if part) + "."


def refuse_other_kinds(weights: Weights, expected: Weights, path: Path) -> None:
    """Raise :class:`FramiError` naming tensors that would lose their meaning in the type that the network expects."""
    other = [f"{key} is {value.dtype}, {value.layout}".replace("torch.", "") for key, value in weights.items()
             if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex()
             or (value.is_floating_point() != expected[key].is_floating_point() and not key.endswith(COUNTER))]
    if other:
        raise FramiError(f"{path} holds tensors of another kind than the network has: {_some(other)}.",
                         "Quantized, sparse and complex weights are not read; ask for the checkpoint in float32.")


def refuse_non_finite(network: nn.Module, path: Path, weights: Weights | None = None) -> None:
    """Raise :class:`FramiError` naming the tensors that hold NaN, or infinity where it cannot be meant.

    Masks hold it, and they are buffers of ``network``, or constants of a program; parameters and BatchNorm statistics
    must be finite.

    Args:
        weights: by default what the network holds, under the names of the network that was exported.
    """
    if isinstance(network, Program):
        weights, buffers = weights or network.weights, network.buffer_names
    else:
        weights, buffers = weights or network.state_dict(), dict(network.named_buffers()).keys()
    masks = {name for name in buffers if not name.endswith(STATISTICS)}
    broken = [key for key, value in weights.items() if isinstance(value, Tensor) and value.is_floating_point()
              and not (~torch.isnan(value) if key in masks else torch.isfinite(value)).all()]
    if broken:
        raise FramiError(f"{path} holds NaN or infinite values in {_some(broken)}.",
                         "Its training diverged, or the file is damaged; ask for another checkpoint.")


def _spellings(weights: Weights) -> Iterator[Weights]:
    """The weights as they are, then without each prefix that all keys share, one after another."""
    yield weights
    if AVERAGED in weights and all(key.startswith("module.") for key in weights.keys() - {AVERAGED}):
        weights = {key: value for key, value in weights.items() if key != AVERAGED}
    while weights and (prefix := _shared_prefix(weights)):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
        yield weights


def _within(weights: Weights, least: int = 1, deepest: int = DEEPEST) -> Iterator[tuple[str, Weights]]:
    """What lies under each first part of the names, and under the parts that follow, by the prefix taken off.

    Only what has ``least`` keys or more; names of a hostile file may have any number of parts.
    """
    parts: dict[str, Weights] = {}
    for key, value in weights.items():
        first, dot, rest = key.partition(".")
        if dot:
            parts.setdefault(f"{first}.", {})[rest] = value
    for prefix, part in parts.items():
        if len(part) >= least:
            yield prefix, part
            if deepest > 1:
                yield from ((prefix + inner, each) for inner, each in _within(part, least, deepest - 1))


def _least(expected: Weights) -> int:
    """How many keys a state_dict has at least that fits."""
    return max(1, sum(not key.endswith(COUNTER) for key in expected))


def _shared_prefix(weights: Weights) -> str | None:
    return next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in weights)), None)


def _holds(weights: Weights, expected: Weights) -> bool:
    """Whether they are all there, whatever else is."""
    return all(key in weights and _same_shape(weights[key], value) for key, value in expected.items()
               if not key.endswith(COUNTER))


def _same_shape(value: Tensor, wanted: Tensor) -> bool:
    """A lazy layer has no shape yet, and takes that of the weights."""
    return is_lazy(wanted) or value.shape == wanted.shape


def _expression(place: str, prefix: str) -> str:
    """What gives the weights of ``ema.shadow``, as it is typed: ``torch.load(FILE)['ema']['shadow']``."""
    weights = "torch.load(FILE)" + "".join(f"[{key!r}]" for key in place.split(".") if place)
    if not prefix:
        return weights
    return f"{{key[{len(prefix)}:]: value for key, value in {weights}.items() if key.startswith({prefix!r})}}"


def _some(items: Iterable[str]) -> str:
    items = list(items)
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more
