"""Pictures to explore in a notebook: with menus where a front end shows widgets, a static picture elsewhere."""

import base64
import io
from collections.abc import Callable, Sequence
from itertools import combinations
from textwrap import shorten
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from ipywidgets import Dropdown, HBox, Image, Layout, VBox
from matplotlib.figure import Figure

from msa_core.analysis import plots, tables
from msa_core.data import FeatureSet
from msa_core.records import Run

PNG_WIDTH = slice(16, 20)  # bytes of a PNG file that hold its width
MOST_UTTERANCES = 30  # of a menu


class Explorer:
    """Menus above a picture that is drawn anew at each choice; shown as a cell's last value.

    A front end without widgets, papermill's file and the report show `static`, with the same numbers: one output has
    both forms, and whoever shows it takes the one it can.

    Args:
        draw: gets the chosen value of each menu by name; gives the figure.
        static: the picture without menus; it is closed, so that the notebook does not show it twice.
        menus: name -> its choices, each a value or a pair of text and value; the first is chosen at the start.
    """

    def __init__(self, draw: Callable[..., Figure], static: Figure, **menus: Sequence[Any]) -> None:
        self._draw, self._static = draw, _png(static)
        self.menus = {name: Dropdown(options=choices, description=name) for name, choices in menus.items()}
        self.picture = Image(format="png", layout=Layout(max_width="100%"))
        for menu in self.menus.values():
            menu.observe(self._redraw, names="value")
        self._redraw()

    def _redraw(self, _: object = None) -> None:
        self.picture.value = _png(self._draw(**{name: menu.value for name, menu in self.menus.items()}))
        self.picture.layout.width = f"{_shown_width(self.picture.value)}px"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        menus = HBox(list(self.menus.values()), layout=Layout(flex_flow="row wrap"))
        bundle = VBox([menus, self.picture])._repr_mimebundle_(**options)
        bundle["image/png"] = base64.b64encode(self._static).decode()
        return bundle, {"image/png": {"width": _shown_width(self._static)}}


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    plt.close(figure)
    return stream.getvalue()


def _shown_width(png: bytes) -> int:
    """In pixels of a page."""
    return round(int.from_bytes(png[PNG_WIDTH]) * plt.rcParams["figure.dpi"] / plt.rcParams["savefig.dpi"])


def generated_labels(labels: pd.DataFrame, label_bound: float, static: Figure) -> Explorer:
    """One utterance's labels by epoch, and the spread of all labels at an epoch; menus: run, utterance, epoch.

    Of the epochs that have all labels, the nearest to the chosen one is shown, and named.

    Args:
        labels: variant, seed, id, epoch, a column per task; at epoch 0 also `true_<modality>`, where known, and
            utterance, the text of those that can be chosen.
        label_bound: H.
        static: see `Explorer`.
    """
    by_run = labels.groupby(["variant", "seed"], sort=False)
    runs = {f"{variant}, seed {seed}": of_run for (variant, seed), of_run in by_run}
    chosen = labels.dropna(subset="utterance").drop_duplicates("id")
    texts = chosen.set_index("id")["utterance"].loc[tables.evenly_by_y(chosen, min(len(chosen), MOST_UTTERANCES))]

    def draw(run: str, utterance: Any, epoch: int) -> Figure:
        of_run = runs[run]
        counts = of_run["epoch"].value_counts()  # records have all utterances at some epochs, which differ by run
        epoch = min(counts.index[counts == counts.max()], key=lambda recorded: abs(recorded - epoch))
        true = tables.recorded_truth(of_run)
        return plots.label_view(of_run, utterance, texts[utterance], epoch, label_bound, true)

    utterances = [(shorten(text, 60), identity) for identity, text in texts.items()]
    epochs = sorted(tables.shown_epochs(labels).tolist(), reverse=True)
    return Explorer(draw, static, run=list(runs), utterance=utterances, epoch=epochs)


def labels_of_run(run: Run, train: FeatureSet) -> pd.DataFrame:
    """A run's labels as `generated_labels` takes them, with the texts and the true labels of its train split.

    Args:
        run: finished.
        train: its train split.
    """
    known = {f"true_{modality}": values for modality, values in (train.unimodal_labels or {}).items()}
    start = pd.DataFrame(known).assign(id=train.ids, epoch=0, utterance=train.raw_text or train.ids)
    labels = run.labels.assign(variant=run.config.variant, seed=run.config.seed)
    return labels.merge(start, on=["id", "epoch"], how="left")


def spectra(eigenvalues: pd.DataFrame, static: Figure) -> Explorer:
    """`plots.spectra` of two modalities and of one seed or all; menus: pair, seed.

    Args:
        eigenvalues: as `tables.spectra` gives it, with variant and seed.
        static: see `Explorer`.
    """
    pairs = list(combinations(dict.fromkeys(eigenvalues["modality"]), 2))

    def draw(pair: tuple[str, str], seed: int | None) -> Figure:
        of_pair = eigenvalues[eigenvalues["modality"].isin(pair)]
        return plots.spectra(of_pair if seed is None else of_pair[of_pair["seed"] == seed])

    seeds = [("all", None), *((str(seed), seed) for seed in dict.fromkeys(eigenvalues["seed"]))]
    return Explorer(draw, static, pair=[(" and ".join(pair), pair) for pair in pairs], seed=seeds)
