import pytest
import yaml
from pydantic import ValidationError

from msa_core import paths
from msa_core.config import RunConfig, grid, load_yaml, refuse_unknown_parameters, resolve
from msa_core.config.objective import GeneratedLabels, NoUnimodalLabels, ObjectiveConfig

DATASETS = sorted(path.stem for path in (paths.CONFIG / "datasets").glob("*.yaml"))
VARIANTS = sorted(load_yaml(paths.CONFIG / "variants.yaml"))


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_shipped_file_resolves_and_comes_back_from_yaml(dataset, variant):
    config = resolve(dataset, variant, seed=7)
    assert config.dataset.name == dataset
    assert RunConfig(**yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize("name", load_yaml(paths.CONFIG / "study.yaml")["grids"])
def test_every_run_of_a_grid_resolves_and_none_is_there_twice(name):
    runs = grid(name)
    assert len(runs) == len(set(map(repr, runs)))
    for run in runs:
        resolve(run.dataset, run.variant, run.seed)


def test_the_data_sets_of_the_study_have_their_published_sums():
    sums = {
        name: load_yaml(paths.CONFIG / "datasets" / f"{name}.yaml")["dataset"]["known_sha256"]
        for name in ("mosi", "mosei", "sims")
    }
    assert sums["mosi"]["unaligned_50"] == "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524"
    assert sums["mosei"]["unaligned_50"] == "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f"
    assert sums["sims"]["unaligned_39"] == "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f"


def test_variants_change_what_they_say():
    paper = resolve("planted")
    assert paper.objective.alignment.pairs
    assert paper.objective.labels == GeneratedLabels()
    assert paper.objective.weight_adjustment
    measured = paper.objective.alignment.model_copy(update={"scale": 0.0})
    assert resolve("planted", "no_alignment").objective == paper.objective.model_copy(update={"alignment": measured})
    changed = paper.objective.model_copy(update={"labels": NoUnimodalLabels()})
    assert resolve("planted", "no_label_generation").objective == changed


def test_overrides_come_last_and_deep():
    config = resolve(
        "planted",
        "no_alignment",
        overrides={"objective.alignment.pairs": {"text-audio": 3}, "training.groups.text.learning_rate": 0.5},
        features="my.pkl",
    )
    assert config.objective.alignment.pairs == {("text", "audio"): 3.0}  # replaced, not added to
    assert config.training.groups.text.learning_rate == 0.5
    assert config.training.groups.audio == resolve("planted").training.groups.audio
    assert config.dataset.features == "my.pkl"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mosii",), r"got dataset 'mosii', expected one of \[.*'mosi'"),
        (("planted", "papr"), r"got variant 'papr', expected one of \[.*'paper'"),
        (
            ("planted", "paper", 1, None, {"training.epochs": 3}),
            r"training.epochs: got an unknown setting.*max_epochs",
        ),
        (
            ("planted", "paper", 1, None, {"training.batch_size": 1}),
            r"training.batch_size: .*greater than or equal to 2",
        ),
        (
            ("planted", "paper", 1, None, {"model.audio.widht": 3}),
            r"widht: .*one of hidden, width, dropout",
        ),
        (("planted", "paper", -1), r"seed: .*got -1"),
        (
            ("planted", "paper", 1, None, {"objective.alignment.pairs": {"audio-video": 1}}),
            r"objective.alignment.pairs: got the pair 'audio-video', expected two different ones of text",
        ),
        (
            ("planted", "paper", 1, None, {"objective.alignment.pairs": {"audiovision": 1}}),
            r"objective.alignment.pairs: got the pair 'audiovision', expected two different ones",
        ),
        (("planted", "paper", 1, None, {"objective.labels": {"kind": "copied"}}), r"'copied' with weight_adjustment"),
        (
            ("planted", "paper", 1, None, {"objective.labels": {"kind": "copid"}}),
            r"objective.labels.kind: got 'copid', expected one of generated, copied, true, none",
        ),
        (
            ("planted", "paper", 1, None, {"objective.labels.exclude_zro": True}),
            r"exclude_zro: got an unknown setting, expected one of kind, exclude_zero, centre_distance$",
        ),
    ],
)
def test_wrong_settings_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        resolve(*arguments)


def test_a_section_keeps_the_keys_that_an_override_does_not_name():
    before = resolve("planted")
    config = resolve("planted", overrides={"training": {"max_epochs": 2, "groups": {"text": {"weight_decay": 0}}}})
    assert config.training.batch_size == before.training.batch_size
    assert config.training.groups.text.learning_rate == before.training.groups.text.learning_rate
    assert (config.training.max_epochs, config.training.groups.text.weight_decay) == (2, 0)


def test_another_kind_replaces_its_section_and_the_same_kind_changes_it():
    generated = {"objective.labels": {"kind": "generated", "centre_distance": "squared"}}
    labels = resolve("planted", "include_zero", overrides=generated).objective.labels
    assert labels == GeneratedLabels(exclude_zero=False, centre_distance="squared")
    assert resolve("planted", "include_zero", overrides={"objective.labels": {"kind": "none"}}).objective.labels == (
        NoUnimodalLabels()
    )


@pytest.mark.parametrize("older", ["no", False])
def test_the_older_name_of_float32_is_read(older):
    assert resolve("planted", overrides={"training.precision": older}).training.precision == "float32"


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        ObjectiveConfig().weight_adjustment = False


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match=r"got grid 'tiny', expected one of"):
        grid("tiny")


@pytest.mark.parametrize(
    ("cells", "unknown"),
    [
        (["seed: int = 1\nname = 'a'", "# Parameters\nseed = 2\n", "check"], None),
        (["seed: int = 1\nname = 'a'", "check"], None),
        (["", "earlier cell", "seed: int = 1", "# Parameters\nsede = 2\nseed = 3\n", "check"], "sede"),
    ],
)
def test_unknown_parameters(cells, unknown):
    if unknown is None:
        refuse_unknown_parameters(cells)
    else:
        with pytest.raises(ValueError, match=f"got unknown parameter {unknown}, expected one of seed"):
            refuse_unknown_parameters(cells)
