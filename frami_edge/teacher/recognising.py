"""Which networks of the registry a state_dict belongs to, told by its keys and shapes alone."""

from typing import NamedTuple

import torch

from frami_edge import networks
from frami_edge.teacher.fitting import Weights, match, match_within, same_keys
from frami_edge.teacher.inputs import USUAL_BANDS

OTHER_BANDS = tuple(n for n in range(8, 129) if n not in USUAL_BANDS)  # tried where no usual number fits


class WeightsFound(NamedTuple):
    """One state_dict of a file."""

    place: str  # "" is the whole file
    tensors: int
    parameters: int  # buffers left out
    dtype: str  # of most of the values
    classes: int | None  # rows of the last matrix: a guess


class Match(NamedTuple):
    """A registered network that takes the weights."""

    architecture: str
    place: str
    classes: int
    n_mels: tuple[int, ...]  # of the usual numbers those that fit; several where the shapes leave it open


def describe(place: str, weights: Weights) -> WeightsFound:
    kinds: dict[str, int] = {}
    for value in weights.values():
        kind = str(value.dtype).removeprefix("torch.")
        kinds[kind] = kinds.get(kind, 0) + value.numel()
    learnt = (value for key, value in weights.items() if not key.endswith(("running_mean", "running_var", "tracked")))
    return WeightsFound(place, len(weights), sum(value.numel() for value in learnt),
                        max(kinds, key=lambda kind: kinds[kind], default="none"), guess_classes(weights))


def guess_classes(weights: Weights) -> int | None:
    """Rows of the last matrix (or convolution of one by one) in the file; None where there is none."""
    for key, value in reversed(weights.items()):
        recurrent = "weight_hh" in key or "weight_ih" in key
        if value.dim() >= 2 and value[0].numel() == value.shape[1] and value.is_floating_point() and not recurrent:
            return len(value)
    return None


def recognise(candidates: dict[str, Weights]) -> list[Match]:
    """Every registered network that one of the state_dicts fits, prefixes of wrappers taken off."""
    found = []
    for place, weights in candidates.items():
        classes = guess_classes(weights)
        if classes is None or classes < 2:
            continue
        for name in networks.names():
            if bands := _bands(name, classes, weights):
                found.append(Match(name, place, classes, bands))
    return found


def _bands(name: str, classes: int, weights: Weights) -> tuple[int, ...]:
    """The numbers of Mel bands with which the network fits; none where its keys are others."""
    usual = _empty(name, classes, USUAL_BANDS[0])
    if not same_keys(weights, usual):
        return ()
    other = _empty(name, classes, USUAL_BANDS[1])
    if all(usual[key].shape == other[key].shape for key in usual):  # it averages over the bands
        return USUAL_BANDS if _fits(weights, usual) else ()
    for bands in (USUAL_BANDS, OTHER_BANDS):
        if fitting := tuple(n for n in bands if _fits(weights, _empty(name, classes, n))):
            return fitting
    return ()


def _fits(weights: Weights, expected: Weights) -> bool:
    return match(weights, expected) is not None or bool(match_within(weights, expected))


def _empty(name: str, classes: int, n_mels: int) -> Weights:
    """Names and shapes: nothing is drawn."""
    with torch.device("meta"):
        return networks.build(name, classes, n_mels).state_dict()
