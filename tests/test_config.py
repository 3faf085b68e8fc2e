import math
import re
import subprocess
import sys

import pytest
import yaml
from pydantic import ValidationError

from msa_core import MODALITIES, paths
from msa_core.config import RunConfig, grid, load_yaml, refuse_unknown_parameters, resolve
from msa_core.config.model import LowRankConfig, ProjectionConfig, UnimodalConfig
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
        (("mosii",), r"got dataset 'mosii', expected one of config/datasets; did you mean 'mosi'\?$"),
        (("planted", "papr"), r"got variant 'papr', expected one of config/variants\.yaml; did you mean 'paper'\?$"),
        (("planted", "zzz"), r"got variant 'zzz', expected one of config/variants\.yaml: align_all, .* \d+ others$"),
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
            r"exclude_zro: got an unknown setting, expected one of kind, .*; did you mean 'exclude_zero'\?$",
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


def test_an_override_changes_a_part_that_its_variant_chose():
    assert resolve("planted", "low_rank_fusion", overrides={"model.fusion.rank": 8}).model.fusion == LowRankConfig(
        rank=8
    )
    config = resolve("planted", "mult", overrides={"model": {"unimodal": {"text": {"width": 7}}}, "model.layers": 2})
    assert config.model.layers == 2
    assert config.model.unimodal == UnimodalConfig(text=ProjectionConfig(width=7, dropout=0.1))  # dropout: the default
    again = {"model": {"kind": "mult"}, "model.unimodal.text.width": 7, "model.layers": 2}
    assert resolve("planted", overrides=again).model == config.model


INFINITE = [math.inf, -math.inf, math.nan, ".inf", "nan"]
NUMBERS = [
    "training.groups.text.learning_rate",
    "training.groups.rest.weight_decay",
    "training.state_every",
    "objective.alignment.scale",
    "dataset.label_bound",
    "model.audio.dropout",
]
SIZES = [
    "training.batch_size",
    "training.accumulate",
    "training.max_epochs",
    "training.patience",
    "dataset.planted.num_train",
    "dataset.max_frames",
    "dataset.max_tokens",
    "model.audio.hidden",
    "model.vision.width",
    "model.fusion.width",
    "model.unimodal.text.width",
    "objective.alignment.width",
]
PAIRS = "objective.alignment.pairs"
DISTANCE = "objective.alignment.distance"


def refused(message, *arguments, **keywords):
    """`resolve` refuses this in one line."""
    with pytest.raises(ValueError, match=message) as error:
        resolve(*arguments, **keywords)
    assert type(error.value) is ValueError
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("value", [*INFINITE, 10**400, "x", True, None, [1.0]], ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_finite_and_no_boolean(name, value):
    refused(rf"{re.escape(name)}: got .*, expected ", "planted", overrides={name: value})


def test_gradients_may_be_left_as_they_are_by_no_other_value_than_none():
    assert resolve("planted", overrides={"training.max_gradient_norm": None}).training.max_gradient_norm is None
    for value in (*INFINITE, 0, -1.0, "x", True):
        refused(
            r"training\.max_gradient_norm: got .*, expected ",
            "planted",
            overrides={"training.max_gradient_norm": value},
        )


@pytest.mark.parametrize("value", [0, -1, 10**9, 10**30, 2.0, "3", True, math.inf, math.nan])
@pytest.mark.parametrize("name", SIZES)
def test_a_size_is_an_integer_that_can_be_allocated(name, value):
    refused(rf"{re.escape(name)}: got .*, expected ", "planted", overrides={name: value})


@pytest.mark.parametrize("name", [name for name in SIZES if "width" in name] + ["model.audio.hidden"])
def test_a_width_of_one_is_refused(name):
    refused(rf"{re.escape(name)}: got 1, expected greater than or equal to 2", "planted", overrides={name: 1})


@pytest.mark.parametrize(
    ("variant", "name"),
    [("mult", "model.width"), ("mult", "model.heads"), ("mult", "model.layers"), ("mult", "model.kernel"),
     ("low_rank_fusion", "model.fusion.rank"), ("tensor_fusion", "model.fusion.reduced"),
     ("attention_fusion", "model.fusion.heads"), ("nearest_labels", "objective.labels.neighbours")],
)  # fmt: skip
def test_sizes_of_other_parts_are_bounded_too(variant, name):
    refused(rf"{re.escape(name)}: got 1000000000, expected less than", "planted", variant, overrides={name: 10**9})


@pytest.mark.parametrize(
    "seed", [1e20, 1111.0, "1111", -1, True, None, 1.5, math.nan, math.inf, 2**32, 10**30, [1], ""]
)
def test_a_seed_has_one_spelling(seed):
    refused(r"seed: got .*, expected ", "planted", "paper", seed)


def test_the_largest_seed():
    assert resolve("planted", seed=2**32 - 1).seed == 2**32 - 1


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/x", "a b", "-x", "a\0b", "x" * 300])
def test_a_name_leads_nowhere(name):
    refused(r"dataset\.name: got ", "planted", overrides={"dataset.name": name})
    with pytest.raises(ValueError, match="got the name"):
        paths.run_folder("planted", name, 1)
    with pytest.raises(ValueError, match="got the name"):
        paths.run_folder(name, "paper", 1)


def test_a_data_set_has_the_name_of_its_file():
    refused(r"dataset\.name: got 'other', expected 'planted'", "planted", overrides={"dataset.name": "other"})


@pytest.mark.parametrize("overrides", [[], ["training.max_epochs"], "training.max_epochs=3", "", 3, True, ("a", 1)])
def test_overrides_are_a_mapping(overrides):
    refused(r"overrides: got .*, expected a mapping such as", "planted", overrides=overrides)


@pytest.mark.parametrize("name", ["", ".", "training.", ".training", "training..max_epochs", 1, None])
def test_the_name_of_an_override_is_dotted_text(name):
    refused(r"overrides: got the name .*, expected one such as 'training.max_epochs'", "planted", overrides={name: 1})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"seed": 3}, r"got seed in a preset or an override, expected it as the parameter 'seed'"),
        ({"variant": "x"}, r"got variant in a preset or an override"),
        ({"training": 1}, r"training: got 1, expected a mapping"),
        ({"training": None}, r"training: got None, expected a mapping"),
        ({"training.max_epochs.x": 1}, r"training\.max_epochs: got \{'x': 1\}, expected a valid integer"),
        ({"trainig.max_epochs": 1}, r"trainig: got an unknown setting, .* did you mean 'training'\?"),
        ({"training.epochs": 1}, r"training\.epochs: .* did you mean 'max_epochs'\?"),
        ({"max_epochs": 1}, r"max_epochs: got an unknown setting, .* did you mean 'training\.max_epochs'\?"),
        ({"training.precision": "flot64"}, r"got 'flot64', .* did you mean 'float64'\?"),
        ({"training.precision": False}, r"precision: got false, .*without quotes; write float32"),
        ({"training.precision": True}, r"precision: got True, .*YAML reads yes, no, true and false"),
        ({"training.precision": 0}, r"precision: got 0, expected 'float32'"),
        ({"training.average": "no"}, r"average: got 'no', expected a valid boolean"),
        ({"training.device": "cuda"}, r"device: got 'cuda', expected 'auto' or 'cpu'"),
        ({"objective.labels": {"kind": True}}, r"labels\.kind: got True, .*without quotes"),
        ({DISTANCE: {"kind": "euclidean"}}, r"distance\.kind: got 'euclidean', expected one of covariance, corr"),
        ({DISTANCE: {"kind": "correlaton"}}, r"did you mean 'correlation'\?"),
        ({DISTANCE: {"kind": ["cka"]}}, r"distance\.kind: got \['cka'\], expected one of"),
        ({DISTANCE: {"kind": "info_nce", "temperature": 0}}, r"temperature: got 0, expected greater than or equal to"),
        ({DISTANCE: {"kind": "isotropic", "variance": -1}}, r"variance: got -1, expected greater than or equal to 0"),
        ({DISTANCE: {"kind": "permuted", "of": {"kind": "permuted"}}}, r"of\.kind: got 'permuted', expected one of "),
        ({DISTANCE: {"kind": "permuted", "of": {"kind": "ckaa"}}}, r"of\.kind: got 'ckaa', .* did you mean 'cka'\?"),
        ({DISTANCE: {"kind": "unbiased"}, PAIRS: {"audio-vision": -1}}, r"weight -1.0 .*: correlation, cka, cmd, rel"),
        ({DISTANCE: "cka"}, r"distance: got 'cka', expected a mapping such as \{kind: cka\}"),
        ({PAIRS: {"audio-vision": math.nan}}, r"pairs\..*: got nan, expected a finite number"),
        ({PAIRS: {"audio-vision": math.inf}}, r"pairs\..*: got inf, expected a finite number"),
        ({PAIRS: {"audio-vision": 1, "vision-audio": 2}}, r"got the pair 'vision-audio' twice"),
        ({PAIRS: {1: 1}}, r"got the pair 1, expected two different ones"),
        ({PAIRS: {"audio-audio": 1}}, r"got the pair 'audio-audio', expected two different ones"),
        ({PAIRS: ["audio-vision"]}, r"pairs: got \['audio-vision'\], expected a mapping"),
        ({PAIRS: {"audio-vision": -1}}, r"got weight -1.0 for audio-vision on the distance covariance"),
        ({"objective.alignment.scale": -1}, r"got weight -100.0 for audio-vision .*: correlation, cka, cmd"),
        ({PAIRS: {"audio-vision": 1e200}, "objective.alignment.scale": 1e200}, r"got weight inf for audio-vision"),
        ({"dataset.features": " "}, r"features: got ' ', expected text that is not empty"),
        ({"dataset.cache_folder": ""}, r"cache_folder: got '', expected text"),
        ({"text.encoder": ""}, r"encoder: got '', expected text"),
        ({"dataset.missing": {"train": {"vision": math.nan}}}, r"missing\.train\.vision: got nan"),
        ({"dataset.unlabelled.one_modality": 0.5}, r"dataset\.unlabelled: got one_modality 0\.5 with share 0"),
        ({"dataset.noise": {"test": {"text": 0.5}}}, r"noise\.test\.text: got 'text', expected"),
        ({"training.modality_dropout": {"text": 1.5}}, r"modality_dropout\.text: got 1\.5"),
        ({"dataset.missing": {"trian": {"vision": 0.1}}}, r"missing\.trian: got 'trian', .* did you mean 'train'"),
        ({"dataset.planted.signal_to_noise": {"text": -1}}, r"signal_to_noise\.text: got -1, expected greater than or"),
        ({"dataset.planted.signal_to_noise": {"txt": 1}}, r"signal_to_noise\.txt: got 'txt', .* did you mean 'text'"),
        ({"dataset.planted.shared_part": 1.5}, r"shared_part\.text: got 1\.5, expected less than or equal to 1"),
        ({"dataset.planted.shared_part": "half"}, r"shared_part: got 'half', expected a mapping"),
        ({"dataset.planted.task_weights": {"text": "x"}}, r"task_weights\.text: got 'x', expected a valid number"),
        ({"dataset.planted.label_noise": -1}, r"label_noise: got -1, expected greater than or equal to 0"),
        ({"dataset.planted.seed": -1}, r"planted\.seed: got -1"),
        ({"dataset.known_sha256": {"a": "zz"}}, r"known_sha256\.a: got 'zz'"),
        ({"objective.labels": {"kind": "damped", "share": 0}}, r"labels\.share: got 0, expected greater than 0"),
        ({"objective.labels": {"kind": "damped", "share": 1.1}}, r"labels\.share: got 1\.1, expected less than"),
        ({"objective.labels.momentum": 1}, r"labels\.momentum: got 1, expected less than 1"),
        ({"objective.labels.momentum": math.nan}, r"labels\.momentum: got nan, expected a finite number"),
        ({"objective.labels.first_epoch": 1}, r"labels\.first_epoch: got 1, expected greater than or equal to 2"),
        ({"training.accumulated": "total"}, r"accumulated: got 'total', expected 'mean' or 'sum'"),
        ({"model": {"kind": "mult", "heads": 7}}, r"model: got width 50 with 7 heads"),
        ({"model.fusion": {"kind": "attention", "heads": 7}}, r"model\.fusion: got width 128 with 7 heads"),
        ({"dataset.modalities": []}, r"dataset\.modalities: got \[\], List should have at least 1"),
        ({"dataset.modalities": ["txt"]}, r"dataset\.modalities\.0: got 'txt', .* did you mean 'text'"),
    ],
)  # fmt: skip
def test_wrong_overrides_are_refused_with_what_to_do(overrides, message):
    refused(message, "planted", overrides=overrides)


@pytest.mark.parametrize("name", ["", None, 3, [], ["planted"], "../planted", "planted.yaml", "Planted", "/etc/passwd"])
def test_a_data_set_or_variant_that_is_no_name_is_refused(name):
    refused(r"got dataset .*, expected one of config/datasets", name)
    refused(r"got variant .*, expected one of config/variants\.yaml", "planted", name)


def test_a_value_of_any_size_is_shown_shortened():
    refused(r"training: got \[0, 0, .*\.\.\.", "planted", overrides={"training": [0] * 10**6})


def test_a_number_that_yaml_reads_as_text_is_a_number():
    rate = yaml.safe_load("{training.groups.text.learning_rate: 1e-3}")
    assert isinstance(*rate.values(), str)
    assert resolve("planted", overrides=rate).training.groups.text.learning_rate == 0.001


def test_the_older_name_of_float32_is_read():
    assert resolve("planted", overrides={"training.precision": "no"}).training.precision == "float32"


def test_a_pair_has_one_spelling():
    config = resolve("planted", overrides={PAIRS: {"vision-audio": 2}})
    assert config == resolve("planted", overrides={PAIRS: {("audio", "vision"): 2.0}})
    assert config.objective.alignment.model_dump(mode="json")["pairs"] == {"audio-vision": 2.0}


def test_one_number_for_all_modalities_is_another_spelling():
    one = resolve("planted", overrides={"dataset.planted.shared_part": 0.8})
    assert one == resolve("planted", overrides={"dataset.planted.shared_part": dict.fromkeys(MODALITIES, 0.8)})


UNNUMBERED = {
    "training.state_every": 1,
    "training.tracker": "tensorboard",
    "dataset.title": "Another",
    "dataset.remark": "A remark.",
    "dataset.cache_folder": "elsewhere",
    "dataset.known_sha256": {"a": "0" * 64},
}


def test_settings_that_change_no_number_are_no_part_of_the_identity():
    config = resolve("planted", overrides=UNNUMBERED)
    assert config != resolve("planted")
    assert config.identity() == resolve("planted").identity()
    assert config.changes() == {}
    assert {*UNNUMBERED} == {
        f"{section}.{name}"
        for section, settings in config
        if section in ("dataset", "training")
        for name in type(settings).model_fields
        if name not in config.identity()[section]
    }


@pytest.mark.parametrize(
    "name", ["training.max_epochs", "training.patience", "dataset.max_tokens", "model.audio.width"]
)
def test_every_other_setting_is_a_part_of_it(name):
    config = resolve("planted", overrides={name: 7})
    assert config.identity() != resolve("planted").identity()
    assert config.changes() == {name: 7}


def test_two_spellings_of_the_same_overrides_are_the_same_changes():
    nested = resolve("planted", overrides={"training": {"max_epochs": 2}}).changes()
    assert nested == resolve("planted", overrides={"training.max_epochs": 2, "training.state_every": 5}).changes()
    assert paths.runs_folder(nested).parent.name == "trials"
    assert paths.runs_folder(resolve("planted", overrides={"training.max_epochs": 50}).changes()) == paths.RUNS


def test_changes_name_another_kind_and_an_emptied_mapping():
    assert resolve("planted", overrides={PAIRS: {}}).changes() == {PAIRS: {}}
    assert resolve("planted", overrides={"objective.labels": {"kind": "none"}}).changes() == {
        "objective.labels.kind": "none"
    }
    features = resolve("planted", features="other.pkl")
    assert features.changes() == {"dataset.features": "other.pkl"}


def test_a_typo_is_reported_before_torch_is_imported():
    code = """if True:
        import sys
        from msa_core.config import resolve
        try:
            resolve("planted", "papr")
        except ValueError:
            sys.exit(bool({"torch", "transformers", "pandas"} & set(sys.modules)))
        sys.exit("accepted")"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        ObjectiveConfig().weight_adjustment = False


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


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        ("seed: int = 1", "seed = 1111.0", r"parameter seed: got 1111\.0 \(float\), expected int"),
        ("seed: int = 1", "seed = '1111'", r"parameter seed: got '1111' \(str\), expected int"),
        ("seed: int = 1", "seed = float('nan')", r"parameter seed: got nan \(float\), expected int"),
        ("seed: int = 1", "seed = True", r"parameter seed: got True \(bool\), expected int"),
        ("save: bool = False", "save = 'no'", r"parameter save: got 'no' \(str\), expected bool"),
        ("variants: list = []", "variants = 'paper'", r"parameter variants: got 'paper' \(str\), expected list"),
        ("overrides: dict = {}", "overrides = ['a']", r"parameter overrides: got \['a'\] \(list\), expected dict"),
        ("variant: str = ''", "varaint = 'a'", r"unknown parameter varaint, .* did you mean 'variant'\?"),
    ],
)
def test_a_parameter_has_the_type_that_is_declared(declared, given, message):
    with pytest.raises(ValueError, match=message):
        refuse_unknown_parameters([declared, f"# Parameters\n{given}\n", "check"])
    refuse_unknown_parameters([declared, f"# Parameters\n{re.sub(': .* =', ' =', declared)}\n", "check"])


def test_runs_share_their_test_samples_unless_they_draw_data_or_splits():
    preset = resolve("planted").dataset
    own = {"planted": preset.planted.model_copy(update={"seed": None})}
    assert preset.draw == "shared"
    assert preset.model_copy(update=own).draw == "own"
    assert preset.model_copy(update=own | {"features": "f.pkl"}).draw == "shared"
    assert resolve("mmmo_resplit").dataset.draw == "split"
