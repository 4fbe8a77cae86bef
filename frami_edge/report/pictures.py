"""The pictures of the report."""

import io
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator
from torch import Tensor

COLUMNS, WIDTH, ROW = 4, 11.0, 1.9  # of the curves; width and height of a row in inches

Curve = Sequence[tuple[float, float]]  # (step, value)


def spectrogram(log_mel: Tensor, quietest: float, loudest: float) -> bytes:
    """A PNG of a log-Mel (n_mels, frames), a pixel for each value, low bands at the bottom.

    Args:
        quietest, loudest: the values that are black and brightest.
    """
    written = io.BytesIO()
    imsave(written, log_mel.numpy(), vmin=quietest, vmax=loudest, cmap="magma", origin="lower", format="png")
    return written.getvalue()


def curves(panels: Mapping[str, Curve], along: str) -> str:
    """SVG: a panel for each curve, with a scale of its own, by title. ``along`` names the horizontal axis."""
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(WIDTH, ROW * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axis, (title, curve) in zip(axes, panels.items(), strict=False):
        steps, values = zip(*curve, strict=True)
        axis.plot(steps, values, linewidth=1.4, marker="." if len(curve) < 30 else "", color="#4878a8")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(along, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(panels):]:
        axis.set_visible(False)
    written = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": along}):  # text stays text; ids are the same each time
        figure.savefig(written, format="svg", metadata={"Date": None})
    svg = written.getvalue()
    return svg[svg.index("<svg"):]  # an XML declaration has no place within HTML
