"""What `distill` says of a student at the end."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from frami_edge.cli import console

if TYPE_CHECKING:
    from frami_edge.distillation.verdict import Verdict

QUICK_BATCHES = 24  # of `quick`; `thorough` has three times as many


def print_verdict(out: Path, run: Path, verdict: "Verdict", seconds: float, recipe: str, batches: int,
                  minutes: float, of_a_bank: bool = False) -> None:
    """The verdict, and what to think of it where it is bad.

    Args:
        recipe: its name, as far as it has one.
        batches, minutes: what the samples were limited by; the minutes where they are not 0.
        of_a_bank: whether they are another run's.
    """
    lines = [
        f"{out} after {seconds / 60:.1f} minutes (run: {run})",
        f"On {verdict.samples} fresh samples, seen by neither bank nor student:",
        f"  agreement with the teacher  {verdict.agreement:7.1%}   (KL {verdict.divergence:.4f} nats)",
        f"  teacher's confidence        {verdict.teacher_confidence:7.1%}",
        f"  BatchNorm gap               {verdict.bn_gap:7.3f}   (of noise: {verdict.noise_bn_gap:.3f})",
    ]
    if verdict.diversity is not None:
        lines.append(f"  diversity within a class    {verdict.diversity:7.3f}   (mean cosine distance)")
    if verdict.richness is not None:
        lines.append(f"  temporal richness           {verdict.richness:7.1%}   (chunks of their sample's class; their "
                     f"logits spread by {verdict.chunk_spread:.2f})")
    lines.append(f"These are synthesized sounds ('frami-edge report {out}' shows what the student learned from): with "
                 f"labelled recordings, 'frami-edge eval {out} DIR' gives the accuracy.")
    console.out.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    if verdict.failed:
        console.err.print("warning: the synthesis has failed: the teacher does not hear the classes that were asked "
                          "for, so the student learned from sounds that mean nothing. Do not use it. 'frami-edge "
                          f"inspect' says whether the card can be right, {run / 'metrics.jsonl'} how the losses went.",
                          highlight=False, markup=False, soft_wrap=True)
    elif verdict.doubtful:
        console.err.print(f"note: the student decides otherwise than its teacher on {1 - verdict.agreement:.0%} of "
                          "these, and will on more of real recordings. More samples help as a rule: "
                          f"{_more_samples(recipe, batches, minutes, of_a_bank)}.",
                          highlight=False, markup=False, soft_wrap=True)


def _more_samples(recipe: str, batches: int, minutes: float, of_a_bank: bool) -> str:
    if minutes:
        return (f"a longer time than {minutes:g} minutes (--budget {math.ceil(3 * minutes)}m"
                f"{', without --bank' if of_a_bank else ''})")
    thorough = "--recipe thorough, or " if recipe == "quick" and batches <= QUICK_BATCHES else ""
    return f"{thorough}--set inversion.batches={3 * batches}{', without --bank' if of_a_bank else ''}"
