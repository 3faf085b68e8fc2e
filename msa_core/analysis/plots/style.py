"""The style that all figures share, and what several of them draw."""

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib_inline.config import InlineBackend

from msa_core.paths import STYLE

plt.style.use(STYLE)
InlineBackend.instance().figure_formats = {"retina"}  # in notebooks: the same size, twice the pixels

TASK_COLOURS = {"multimodal": "#000000", "text": "#0072B2", "audio": "#D55E00", "vision": "#009E73"}
WIDTH = 9.0  # inches: text stays readable when a README shows the picture about 800 pixels wide


def panels(number: int, height: float = 3.2, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(1, number, figsize=(WIDTH, height), sharey=sharey, squeeze=False)
    return figure, list(axes[0])


def legend_below(figure: Figure, *axes: Axes, columns: int = 7) -> None:
    """One legend for the whole figure, each name once."""
    marks: dict[str, Artist] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            marks.setdefault(label, handle)
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=min(len(marks), columns) or 1)


def empty(text: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure = plt.figure(figsize=(WIDTH, 1))
    figure.text(0.5, 0.5, text, ha="center")
    return figure
