"""A bar chart as SVG: no plotting library, no fonts to ship, and every browser shows it."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

LABELS, BARS, VALUES = 370, 400, 110  # widths in pixels
ROW, TOP, BAR = 26, 46, 16  # heights in pixels


class Bar(NamedTuple):
    """Lengths in per cent."""

    label: str
    mean: float
    sd: float | None = None
    paper: float | None = None


def bars(title: str, entries: Sequence[Bar]) -> str:
    """Horizontal bars from 0 to 100 %, a whisker of one sd either way, and a diamond where the paper's number is."""
    width, height = LABELS + BARS + VALUES, TOP + ROW * len(entries) + 30
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
             f'height="{height}" font-family="sans-serif" font-size="12">',
             f"<title>{escape(title)}</title>",
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<text x="10" y="22" font-size="15">{escape(title)}: accuracy in %</text>']
    bottom = TOP + ROW * len(entries)
    for tick in range(0, 101, 20):
        parts += [f'<line x1="{_x(tick):.1f}" y1="{TOP - 6}" x2="{_x(tick):.1f}" y2="{bottom}" stroke="#ddd"/>',
                  f'<text x="{_x(tick):.1f}" y="{bottom + 14}" text-anchor="middle" fill="#555">{tick}</text>']
    for index, entry in enumerate(entries):
        parts += _bar(entry, TOP + ROW * index)
    if any(entry.paper is not None for entry in entries):
        parts.append(f'<text x="10" y="{bottom + 14}" fill="#b00">◆ the paper\'s number</text>')
    return "\n".join([*parts, "</svg>", ""])


def _bar(entry: Bar, top: float) -> list[str]:
    middle = top + BAR / 2
    spread = "" if entry.sd is None else f" ± {entry.sd:.1f}"
    parts = [f'<text x="{LABELS - 8}" y="{middle + 4}" text-anchor="end">{escape(entry.label)}</text>',
             f'<rect class="bar" x="{LABELS}" y="{top}" width="{_x(entry.mean) - LABELS:.1f}" height="{BAR}" '
             f'fill="#4878a8"/>',
             f'<text x="{LABELS + BARS + 10}" y="{middle + 4}">{entry.mean:.1f}{spread}</text>']
    if entry.sd is not None:
        low, high = _x(max(0.0, entry.mean - entry.sd)), _x(min(100.0, entry.mean + entry.sd))
        parts.append(f'<line class="sd" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}" stroke="black" '
                     f'stroke-width="2"/>')
    if entry.paper is not None:
        parts.append(f'<text class="paper" x="{_x(entry.paper):.1f}" y="{middle + 4}" text-anchor="middle" '
                     f'fill="#b00">◆</text>')
    return parts


def _x(percent: float) -> float:
    return LABELS + BARS * percent / 100
