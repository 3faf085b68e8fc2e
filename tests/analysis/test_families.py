"""The families of config/study.yaml: what they must hold follows from the variants' settings."""

import pytest
import yaml

from msa_core import paths
from msa_core.analysis.claims import BASELINE
from msa_core.config import families, load_yaml, resolve

VARIANTS = list(load_yaml(paths.CONFIG / "variants.yaml"))
RUN = {
    v for grid in load_yaml(paths.CONFIG / "study.yaml")["grids"].values() for runs in grid for v in runs["variants"]
}


def flat(settings, name=""):
    """Dotted names -> values."""
    if not isinstance(settings, dict):
        return {name: settings}
    return {k: v for key, value in settings.items() for k, v in flat(value, f"{name}.{key}" if name else key).items()}


def changes(variant):
    """The settings in which a variant differs from `paper`, by dotted name."""
    ours, papers = (flat(resolve("planted", name).model_dump(mode="json")) for name in (variant, "paper"))
    return {name for name in {*ours, *papers} if ours.get(name) != papers.get(name)} - {"variant"}


def test_every_other_alignment_that_a_grid_runs_is_in_its_family():
    """Those that differ from `paper` in the alignment alone; the baseline is what they are compared with."""
    others = {v for v in VARIANTS if changes(v) and all(name.startswith("objective.alignment") for name in changes(v))}
    assert (others & RUN) - {BASELINE} <= set(families()["alignment"]) <= others - {BASELINE}


def test_every_other_weight_is_in_its_family():
    weights = {v for v in VARIANTS if len(changes(v)) == 1 and changes(v).pop().endswith(".audio-vision")}
    assert set(families()["weight"]) == weights | {"paper"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda study: study["families"]["alignment"].append("papr"), r"got variant of alignment 'papr', expected"),
        (lambda study: study["in_no_family"].append("papr"), r"got variant of in_no_family 'papr', expected"),
        (lambda study: study["families"]["alignment"].remove("align_all"), r"no family for variants \['align_all'\]"),
        (lambda study: study["in_no_family"].remove("copied_labels"), r"no family for variants \['copied_labels'\]"),
        (lambda study: study["in_no_family"].append("paper"), r"got variants \['paper'\] in a family and in"),
    ],
)
def test_a_variant_out_of_place_is_named(tmp_path, monkeypatch, change, message):
    study = load_yaml(paths.CONFIG / "study.yaml")
    change(study)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "variants.yaml").write_text((paths.CONFIG / "variants.yaml").read_text())
    monkeypatch.setattr(paths, "CONFIG", tmp_path)
    with pytest.raises(ValueError, match=message):
        families()
