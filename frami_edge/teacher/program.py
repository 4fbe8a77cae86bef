"""An exported program as a network: one module for each operator, so that probing and hooks see all of it."""

from collections.abc import Callable, Iterable, Set
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frami_edge.teacher.operators import BATCH_NORMS, RECURRENT

LARGEST_SIZE = 2**62  # of what arithmetic on sizes may give; Python's own integers grow without end
ANY_LENGTH = (1, LARGEST_SIZE)


class Value(NamedTuple):
    """What stands for the result of another node among a node's arguments."""

    name: str


class OnInput:
    """Stands for the device that the input is on; the program was exported on whatever the vendor had."""


class Node(NamedTuple):
    """One call: an operator of ATen, or arithmetic on sizes.

    ``args`` and ``kwargs`` hold plain values, :class:`Value` and :class:`OnInput`, in lists too.
    """

    name: str
    operator: str  # without namespace and overload
    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[str, ...]  # "" where one is not used
    unpacked: bool  # whether the call returns a tuple or a list, and outputs names its parts
    computes_sizes: bool


class Step(nn.Module):
    """An operator as a module."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.operator, self.call = node.operator, node.call
        self.recurrent = node.operator in RECURRENT

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def extra_repr(self) -> str:
        return self.operator


class BatchNormStep(nn.modules.batchnorm._BatchNorm):
    """A BatchNorm operator, whatever its spelling, with the weights and statistics that it is called with."""

    def __init__(self, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float) -> None:
        super().__init__(len(mean), eps=eps, affine=weight is not None)
        self.running_mean, self.running_var = mean, variance
        if weight is not None:
            self.weight = nn.Parameter(weight)
            self.bias = nn.Parameter(torch.zeros_like(weight) if bias is None else bias)

    def _check_input_dim(self, input: Tensor) -> None:  # the operator takes any
        pass


class Program(nn.Module):
    """Runs the nodes of an exported program in their order.

    Args:
        nodes: in the order in which they run.
        values: parameters, buffers and constants, by the name that nodes use for them.
        weights: the same parameters and buffers under the names of the network that was exported.
        buffer_names: which of these are buffers.
        input_name: that of the only input.
        input_sizes: for each of its axes, the smallest and the largest size that was declared; equal where it is fixed.
        outputs: what is returned; one alone, or a tuple.
    """

    def __init__(self, nodes: Iterable[Node], values: dict[str, Tensor], weights: dict[str, Tensor],
                 buffer_names: Set[str], input_name: str, input_sizes: list[tuple[int, int]],
                 outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.weights, self.buffer_names, self.input_sizes = weights, buffer_names, input_sizes
        self._input, self._outputs = input_name, outputs
        self._run: list[tuple[Node, str]] = []  # with the name of its module; "" where it has none
        for node in nodes:
            module: nn.Module = Step(node)
            if (kept := statistics(node, values)) is not None:
                node, module = kept
            name = "" if node.computes_sizes else self._free_name(node.name)
            if name:
                self.add_module(name, module)
            self._run.append((node, name))
        used = {value.name for node, _ in self._run for value in _values((node.args, node.kwargs))}
        self._constants = {name: self._keep(name, values[name]) for name in sorted(values.keys() & {*used, *outputs})}
        self._last = _last_uses([node for node, _ in self._run], {*outputs, *values})

    def forward(self, x: Tensor) -> Any:
        found: dict[str, Any] = {name: getattr(self, kept) for name, kept in self._constants.items()}
        found[self._input] = x
        for index, (node, name) in enumerate(self._run):
            try:
                args, kwargs = _resolve(node.args, found, x.device), _resolve(node.kwargs, found, x.device)
                result = (getattr(self, name) if name else node.call)(*args, **kwargs)
                if node.computes_sizes and abs(result) > LARGEST_SIZE:
                    raise ValueError(f"a size of {result:.3g}")
                found.update(zip(node.outputs, result if node.unpacked else (result,), strict=False))
            except (KeyError, TypeError, AttributeError, ArithmeticError) as error:  # of a damaged graph
                raise ValueError(f"{node.name}: {error}") from error
            for done in self._last[index]:
                found.pop(done, None)
        if missing := [name for name in self._outputs if name not in found]:
            raise ValueError(f"nothing computes {missing[0]}")
        return found[self._outputs[0]] if len(self._outputs) == 1 else tuple(found[name] for name in self._outputs)

    def _keep(self, name: str, value: Tensor) -> str:
        """Register a tensor, so that it moves to other devices with the network; returns the name of the attribute."""
        kept = self._free_name(name)
        if value.is_floating_point():
            self.register_parameter(kept, nn.Parameter(value))
        else:
            self.register_buffer(kept, value)
        return kept

    def _free_name(self, name: str) -> str:
        while hasattr(self, name):  # nodes are called "to" and "half", as methods of modules are
            name += "_"
        return name


def statistics(node: Node, values: dict[str, Tensor]) -> tuple[Node, BatchNormStep] | None:
    """A node that normalises with kept statistics as a node with one argument, and the module that it runs."""
    if node.operator not in BATCH_NORMS:
        return None
    given = _by_name(node)
    needed = [given.get(name) for name in ("weight", "bias", "running_mean", "running_var")]
    weight, bias, mean, variance = (values.get(value.name) if isinstance(value, Value) else None for value in needed)
    computed = any(isinstance(value, Value) and value.name not in values for value in needed)
    if computed or mean is None or variance is None:
        return None
    module = BatchNormStep(weight, bias, mean, variance, float(given.get("eps", given.get("epsilon", 1e-5))))
    return node._replace(args=(given["input"],), kwargs={}, outputs=node.outputs[:1], unpacked=False), module


def _by_name(node: Node) -> dict[str, Any]:
    names = [argument.name for argument in node.call._schema.arguments]  # type: ignore[attr-defined]
    return dict(zip(names, node.args, strict=False)) | node.kwargs


def _values(argument: Any) -> Iterable[Value]:
    if isinstance(argument, Value):
        yield argument
    elif isinstance(argument, list | tuple | dict):
        for part in argument.values() if isinstance(argument, dict) else argument:
            yield from _values(part)


def _resolve(argument: Any, found: dict[str, Any], device: torch.device) -> Any:
    if isinstance(argument, Value):
        return found[argument.name]
    if isinstance(argument, OnInput):
        return device
    if isinstance(argument, dict):
        return {name: _resolve(part, found, device) for name, part in argument.items()}
    if isinstance(argument, list | tuple):
        return [_resolve(part, found, device) for part in argument]
    return argument


def _last_uses(nodes: list[Node], kept: set[str]) -> list[list[str]]:
    """For each node, the results that nothing uses after it: they leave memory there."""
    done: list[list[str]] = []
    later = set(kept)
    for node in reversed(nodes):
        here = {value.name for value in _values((node.args, node.kwargs))} | set(node.outputs)
        done.append(sorted(here - later - {""}))
        later |= here
    return done[::-1]
