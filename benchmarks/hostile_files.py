"""Damaged and hostile files for `fuzz_opening.py`: made by a seeded generator."""

import random
import warnings
from collections.abc import Callable
from pathlib import Path

from hostile_code import pickled_code, program_code
from hostile_damage import bits, bomb, graph, member, truncation
from hostile_odd import nesting, not_a_file, odd_tensors, own_checkpoints

Make = Callable[[random.Random, Path, Path], None]  # generator, whole files, the file to write

KINDS: dict[str, tuple[Make, int]] = {  # and how many of a hundred
    "bits, bytes and blocks": (bits, 24), "truncated": (truncation, 10), "a member, checksum right": (member, 20),
    "a program's graph": (graph, 12), "code in a pickle": (pickled_code, 8), "code in a program": (program_code, 8),
    "tensors of other kinds and sizes": (odd_tensors, 6), "numbers of a frami-edge checkpoint": (own_checkpoints, 4),
    "nesting": (nesting, 2), "bombs": (bomb, 3), "not a file, or not PyTorch's": (not_a_file, 3),
}
# opened with --arch; of the others half, for programs and frami-edge checkpoints speak for themselves
WEIGHTS = ("code in a pickle", "tensors of other kinds and sizes", "nesting")


def make(index: int, seed: int, whole: Path, path: Path) -> str:
    """Write file ``index`` of the series; returns its kind."""
    rng = random.Random(f"{seed}-{index}")
    kind = rng.choices(list(KINDS), [share for _, share in KINDS.values()])[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        KINDS[kind][0](rng, whole, path)
    return kind
