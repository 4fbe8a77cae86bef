"""Which recipe a teacher gets when none is named."""

from frami_edge.teacher.inspecting import macs_of
from frami_edge.teacher.taps import Teacher

SMALL_TEACHER = 100e6  # multiply-accumulates for one clip; WRN-40-2 has 1300 M for 1 s


def usual_recipe(teacher: Teacher) -> tuple[str, str]:
    """The recipe's name, and why, in parentheses, where it is not ``quick``.

    Samples cost the teacher's passes forward and back. Of a small teacher three times as many take about as long as
    those that ``quick`` makes of a large one, and small teachers need them (docs/decisions.md). A teacher that cannot
    be counted, because it does not take a single clip, counts as large.
    """
    macs = macs_of(teacher, teacher.card.frontend.rows, teacher.card.frames)
    if macs and macs < SMALL_TEACHER:
        return "thorough", f" (a small teacher, of {macs / 1e6:.0f} M multiply-accumulates for a clip)"
    return "quick", ""
