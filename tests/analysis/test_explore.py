"""An explorer has both forms of its picture, and draws what its menus say."""

import base64

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from msa_core.analysis import explore, plots


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def drawn(number):
    figure, axis = plt.subplots()
    axis.plot([0, number])
    return figure


def test_a_choice_draws_anew_and_the_static_picture_stays():
    numbers = []

    def draw(number):
        numbers.append(number)
        return drawn(number)

    plt.close("all")  # those of other tests
    explorer = explore.Explorer(draw, drawn(9), number=[1, 2])
    static, options = explorer._repr_mimebundle_()
    first = explorer.picture.value
    explorer.menus["number"].value = 2
    assert numbers == [1, 2]
    assert explorer.picture.value != first
    assert "application/vnd.jupyter.widget-view+json" in static
    png = base64.b64decode(static["image/png"])
    assert png.startswith(b"\x89PNG")
    assert png not in (first, explorer.picture.value)
    assert options["image/png"]["width"] > 100
    assert plt.get_fignums() == []  # the notebook shows no figure twice


def labels():
    ids = [f"u{i}" for i in range(5)]
    rows = [
        {"variant": variant, "seed": 1, "id": name, "epoch": epoch, "multimodal": place, "audio": place - shift * epoch}
        for variant, shift in (("paper", 0.1), ("other", 0.2))
        for epoch in range(3)
        for place, name in enumerate(ids, -2)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(utterance=("said by " + frame["id"]).where((frame["epoch"] == 0) & (frame["id"] != "u3")))


def test_generated_labels_show_the_chosen_run_and_utterance(monkeypatch):
    seen = {}

    def view(of_run, identity, text, epoch, label_bound, true):
        seen.update(
            variants=set(of_run["variant"]), identity=identity, text=text, epoch=epoch, true=true, bound=label_bound
        )
        return drawn(1)

    monkeypatch.setattr(plots, "label_view", view)
    frame = labels()
    frame = frame[
        (frame["variant"] == "paper") | (frame["epoch"] == 0) | ((frame["epoch"] == 1) & (frame["id"] == "u0"))
    ]
    explorer = explore.generated_labels(frame, 3, drawn(2))
    assert [identity for _, identity in explorer.menus["utterance"].options] == ["u0", "u1", "u2", "u4"]  # by y
    explorer.menus["run"].value = "other, seed 1"
    explorer.menus["utterance"].value = "u4"
    explorer.menus["epoch"].value = 1
    assert seen["epoch"] == 0  # of epoch 1, the run has one label
    assert seen == {"variants": {"other"}, "identity": "u4", "text": "said by u4", "epoch": 0, "true": None, "bound": 3}


def test_label_view_draws_the_path_and_all_labels_of_the_epoch():
    paper = labels().query("variant == 'paper'")
    true = pd.DataFrame({"id": [f"u{i}" for i in range(5)], "audio": np.arange(5.0) / 2})
    left, right = plots.label_view(paper, "u4", "said", 2, 3, true).axes
    y, _, path = left.lines
    assert set(y.get_ydata()) == {2}
    np.testing.assert_allclose(path.get_ydata(), [2, 1.9, 1.8])
    assert left.collections[0].get_offsets()[0, 1] == 2.0
    assert right.get_title(loc="left") == "all 5 utterances, epoch 2"
    heights = right.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((-2.2, 1.8))


def test_spectra_are_of_the_chosen_pair_and_seed(monkeypatch):
    seen = []
    monkeypatch.setattr(plots, "spectra", lambda frame: seen.append(frame) or drawn(1))
    frame = pd.DataFrame([{"modality": m, "seed": s} for m in ("text", "audio", "vision") for s in (1, 2)])
    explorer = explore.spectra(frame, drawn(2))
    assert [text for text, _ in explorer.menus["pair"].options] == [
        "text and audio",
        "text and vision",
        "audio and vision",
    ]
    explorer.menus["pair"].value = ("audio", "vision")
    explorer.menus["seed"].value = 2
    assert [set(frame["modality"]) for frame in seen] == [{"text", "audio"}, *[{"audio", "vision"}] * 2]
    assert set(seen[-1]["seed"]) == {2}
