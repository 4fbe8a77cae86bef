"""The operators that an exported program may call.

A ``.pt2`` file names its operators by strings. Here a name counts only if it stands in these lists: operators that
compute tensors from tensors, and arithmetic on sizes. None of them opens files, reads memory by address, or calls back
into Python.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

ATEN = "torch.ops.aten."
# without their overloads; a trailing _ (in place) is allowed for each
_TENSORS = """
    abs adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d add
    addbmm addcdiv addcmul addmm alias all alpha_dropout amax amin aminmax any arange argmax argmin atan atan2
    avg_pool1d avg_pool2d baddbmm batch_norm bitwise_and bitwise_not bitwise_or bmm broadcast_to broadcast_tensors
    cat ceil celu chunk clamp clamp_max clamp_min clone concat constant_pad_nd contiguous conv1d conv2d conv3d
    _convolution convolution copy cos cosh cosine_similarity cumprod cumsum detach detach_copy diagonal diff div
    dropout einsum elu embedding empty empty_like eq erf exp expand expand_as expand_copy expm1 eye feature_dropout
    fill flatten flip floor floor_divide fmod frobenius_norm full full_like gather ge gelu glu
    group_norm gru gt hardshrink hardsigmoid hardswish hardtanh hstack index index_select instance_norm isfinite isinf
    isnan layer_norm le leaky_relu lerp lift_fresh lift_fresh_copy linalg_norm linalg_vector_norm linear linspace log
    log10 log1p log2 log_sigmoid log_softmax _log_softmax logaddexp logical_and logical_not logical_or logical_xor logit
    logsumexp lstm lt masked_fill matmul max max_pool1d max_pool2d max_pool2d_with_indices maximum mean median min
    minimum mish mm moveaxis movedim mul multiply narrow native_batch_norm _native_batch_norm_legit
    _native_batch_norm_legit_functional _native_batch_norm_legit_no_training _batch_norm_no_update
    _batch_norm_with_update _batch_norm_with_update_functional native_dropout native_group_norm native_layer_norm ne
    neg new_empty new_full new_ones new_zeros norm numpy_T ones ones_like pad permute permute_copy pixel_shuffle pow
    prelu prod reciprocal reflection_pad1d reflection_pad2d relu relu6 remainder repeat repeat_interleave
    replication_pad1d replication_pad2d reshape reshape_as rms_norm rnn_relu rnn_tanh roll round rsqrt rsub
    scalar_tensor scaled_dot_product_attention select select_copy selu sigmoid sign silu sin sinh slice slice_copy
    softmax _softmax softplus softshrink split split_copy split_with_sizes split_with_sizes_copy sqrt square squeeze
    squeeze_copy stack std std_mean sub subtract sum sym_is_contiguous sym_numel sym_size swapaxes t t_copy tan tanh
    tensor_split threshold tile to _to_copy topk transpose transpose_copy tril triu true_divide trunc type_as unbind
    unflatten unfold _unsafe_view unsqueeze unsqueeze_copy upsample_bilinear2d upsample_linear1d upsample_nearest1d
    upsample_nearest2d var var_mean view view_as view_copy vstack where xlogy zero zeros zeros_like
"""
# of what was true where it was exported; they compute nothing
_CHECKS = """
    _assert_async _assert_scalar _assert_tensor_metadata _functional_assert_async _functional_assert_scalar
    sym_constrain_range sym_constrain_range_for_size
"""
TENSORS, CHECKS = frozenset(_TENSORS.split()), frozenset(_CHECKS.split())
BATCH_NORMS = frozenset(name for name in TENSORS if name.lstrip("_").startswith(("batch_norm", "native_batch_norm")))
RECURRENT = frozenset({"gru", "lstm", "rnn_relu", "rnn_tanh"})
SIZES: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name)
       for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "pos", "truediv", "eq", "ne", "lt", "le", "gt", "ge",
                    "and_", "or_", "not_", "getitem")},
    "math.ceil": math.ceil, "math.floor": math.floor, "math.trunc": math.trunc,
    "torch.sym_float": float, "torch.sym_int": int, "torch.sym_max": max, "torch.sym_min": min,
    "torch.sym_not": operator.not_,
}


def base_name(target: str) -> str:
    """``torch.ops.aten.relu_.default`` -> ``relu``; whatever is not of ATen stays as it is."""
    if not target.startswith(ATEN):
        return target
    name = target.removeprefix(ATEN).partition(".")[0]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def is_known(target: str) -> bool:
    """Whether a program may call it."""
    return target in SIZES or (target.startswith(ATEN) and base_name(target) in TENSORS)


def find(target: str) -> Callable[..., Any]:
    """The operator of that name; one that :func:`is_known`.

    Raises:
        AttributeError: this version of PyTorch has no such overload.
    """
    if target in SIZES:
        return SIZES[target]
    name, _, overload = target.removeprefix(ATEN).partition(".")
    found = getattr(getattr(torch.ops.aten, name), overload)
    assert isinstance(found, torch._ops.OpOverload)
    return found
