"""Settings files that are no mapping, no YAML or ambiguous are refused in one line that names the file."""

import shutil
from pathlib import Path

import pytest

from msa_core import paths
from msa_core.config import families, grid, jobs, load_variants, load_yaml, resolve, sweep

PRESET = (paths.CONFIG / "datasets" / "planted.yaml").read_text().replace("name: planted", "name: mine")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A copy of the settings files; `config(name, content)` writes one of them."""
    shutil.copytree(paths.CONFIG, tmp_path / "config")
    monkeypatch.setattr(paths, "CONFIG", tmp_path / "config")

    def write(name, content):
        (tmp_path / "config" / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def test_a_new_preset_is_one_file(config):
    config("datasets/mine.yaml", PRESET)
    assert resolve("mine").dataset.planted == resolve("planted").dataset.planted


def test_a_preset_like_another_changes_what_it_says(config):
    config("datasets/mine.yaml", "like: planted\ndataset: {name: mine, planted: {num_test: 7}}\n")
    config("datasets/third.yaml", "like: mine\ndataset: {name: third}\ntraining: {max_epochs: 2}\n")
    planted, third = resolve("planted"), resolve("third")
    assert third.dataset.planted == planted.dataset.planted.model_copy(update={"num_test": 7})
    assert third.training == planted.training.model_copy(update={"max_epochs": 2})
    assert (third.dataset.title, third.objective) == (planted.dataset.title, planted.objective)


def test_an_installed_package_reads_presets_of_the_current_folder_before_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "INSTALLED", True)
    monkeypatch.setattr(paths, "ROOT", Path())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"expected one of the package's presets and {tmp_path}/config/datasets"):
        resolve("plantd")
    (tmp_path / "config" / "datasets").mkdir(parents=True)
    (tmp_path / "config" / "datasets" / "sims.yaml").write_text("like: planted\ndataset: {name: sims, title: My own}\n")
    assert resolve("sims").dataset.title == "My own"
    assert resolve("mosi").dataset.title == "MOSI"


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("plantd", r"got like of mine: 'plantd', expected one of the other files of config/datasets; did you mean 'pl"),
        ("mine", r"got like of mine: 'mine', expected one of the other files"),
        ("third", r"got like of third: 'mine', expected one of the other files"),
        ("[planted]", r"got like of mine: \['planted'\], expected one of the other files"),
        ("", r"got like of mine: None, expected one of the other files"),
    ],
)
def test_a_preset_like_itself_or_like_none_is_refused(config, base, message):
    config("datasets/mine.yaml", f"like: {base}\ndataset: {{name: mine}}\n")
    config("datasets/third.yaml", "like: mine\ndataset: {name: third}\n")
    with pytest.raises(ValueError, match=message):
        resolve("mine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n- b\n", r"mine\.yaml: got \['a', 'b'\], expected a mapping"),
        ("hello\n", r"mine\.yaml: got 'hello', expected a mapping"),
        ("1: 2\n", r"mine\.yaml: got \{1: 2\}, expected a mapping whose keys are text"),
        ("", r"dataset\.name: is missing, expected a value; dataset\.title: is missing"),
        ("a: [b\n", r"mine\.yaml, line 2: got no valid YAML"),
        ("dataset:\n\tname: x\n", r"mine\.yaml, line 2: got no valid YAML"),
        ("!!python/object/apply:os.getcwd []\n", r"mine\.yaml, line 1: got no valid YAML \(could not determine"),
        ("title: é".encode("latin-1"), r"mine\.yaml: got no valid YAML in UTF-8"),
        (PRESET + "training: {max_epochs: 2}\n", r"mine\.yaml, line \d+: .*got the key 'training' twice"),
        (PRESET.replace("title: Planted", "title: A\n  title: B"), r"line 4: .*got the key 'title' twice"),
        (PRESET + "seed: 3\n", r"got seed in a preset or an override, expected it as the parameter"),
        (PRESET + "variant: paper\n", r"got variant in a preset or an override"),
        (PRESET + "training.max_epochs: 2\n", r"training\.max_epochs: got an unknown setting"),
        (PRESET.replace("name: mine", "name: ../mine"), r"dataset\.name: got the name '\.\./mine'"),
        (PRESET.replace("name: mine", "name: planted"), r"dataset\.name: got 'planted', expected 'mine'"),
        (PRESET.replace("  encoder: tiny", ""), r"text: got None, expected a mapping"),
        ("a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n", r"a: got an unknown setting"),
    ],
)
def test_a_wrong_preset_is_refused(config, content, message):
    config("datasets/mine.yaml", content)
    with pytest.raises(ValueError, match=message) as refused:
        resolve("mine")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n", r"variants\.yaml: got \['a'\], expected a mapping"),
        ("paper: {}\npaper: {training.max_epochs: 3}\n", r"line 2: .*got the key 'paper' twice"),
        ("paper: [a]\n", r"variants\.yaml, paper: got \['a'\], expected a mapping"),
        ("paper: {training.: 3}\n", r"got the name 'training\.', expected one such as"),
        ("other: {}\n", r"got variant 'paper', expected one of config/variants\.yaml: other"),
    ],
)
def test_wrong_variants_are_refused(config, content, message):
    config("variants.yaml", content)
    with pytest.raises(ValueError, match=message):
        resolve("planted")


def test_a_variant_whose_name_leads_out_of_the_folder_is_refused(config):
    config("variants.yaml", "../paper: {}\n")
    with pytest.raises(ValueError, match=r"variant: got the name '\.\./paper'"):
        resolve("planted", "../paper")


def test_a_variant_without_changes_may_be_left_empty(config):
    config("variants.yaml", "paper:\n")
    assert load_variants() == {"paper": {}}


ENTRY = "{dataset: planted, variants: [paper], seeds: [1, 2]}"
COMPARED = "{question: 1, claim: better, metric: mae, variant: paper, reference: no_alignment}"
SWEEP = (
    "{question: 1, title: which, dataset: planted, weights: [1], weight_seeds: [1], seeds: 2-3, "
    "factors: {noise: {0: {dataset.planted.label_noise: 0}, 1: {dataset.planted.label_noise: 1}}, "
    "choice: {ours: {}, other: no_clipping}}, comparisons: {paper: [no_alignment, multimodal_only]}}"
)
REST = f"""
primary: {{dataset: planted, smallest: 0.01, comparisons: [{COMPARED}]}}
sweeps: {{mine: {SWEEP}}}
searches: {{}}
families: {{}}
in_no_family: []
"""


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ("[]", r"grids: got \[\], expected a mapping"),
        ("{small: {}}", r"grids\.small: got \{\}, expected a valid list"),
        ("{small: [3]}", r"grids\.small\.0: got 3, expected a mapping"),
        ("{small: []}", r"got no run of dataset"),
        ("{small: [{dataset: planted}]}", r"grids\.small\.0\.variants: is missing"),
        (f"{{small: [{ENTRY}, {ENTRY}]}}", r"GridRun\(dataset='planted', variant='paper', seed=1\) twice"),
        (f"{{small: [{ENTRY.replace('[paper]', 'paper')}]}}", r"0\.variants: got 'paper', expected a valid list"),
        (f"{{small: [{ENTRY.replace('paper', 'papr')}]}}", r"variant of small 'papr', .* did you mean 'paper'"),
        (f"{{small: [{ENTRY.replace('planted', 'plantd')}]}}", r"dataset 'plantd', .* did you mean 'planted'"),
        (f"{{small: [{ENTRY.replace('[1, 2]', '1')}]}}", r"0\.seeds: got 1, expected a valid list"),
        (f"{{small: [{ENTRY.replace('1, 2', '1.0')}]}}", r"0\.seeds\.0: got 1\.0, expected a valid integer"),
        (f"{{small: [{ENTRY.replace('1, 2', '-1')}]}}", r"0\.seeds\.0: got -1, expected greater than or equal to 0"),
        (f"{{small: [{ENTRY.replace('[1, 2]', '3-1')}]}}", r"0\.seeds: got \[\], List should have at least 1 item"),
        (f"{{small: [{ENTRY.replace('[1, 2]', '3-')}]}}", r"0\.seeds: got '3-', expected a valid list"),
        (f"{{small: [{ENTRY.replace('seeds', 'seed')}]}}", r"0\.seed: got an unknown setting, .* did you mean 'seeds'"),
    ],
)
def test_a_wrong_grid_is_refused(config, grids, message):
    config("study.yaml", f"grids: {grids}{REST}")
    with pytest.raises(ValueError, match=message):
        grid("small")


@pytest.mark.parametrize("content", ["", "- a\n", "families: []\nin_no_family: []\n", "families:\nin_no_family:\n"])
def test_wrong_families_are_refused(config, content):
    config("study.yaml", content)
    with pytest.raises(ValueError, match=r"^config/study\.yaml: "):
        families()


def test_a_sweep_has_every_combination_of_its_factors(config):
    config("study.yaml", f"grids: {{}}{REST}")
    clipping = {"training.max_gradient_norm": None}
    assert sweep("mine").cells == [
        ((0.0, "ours"), {"dataset.planted.label_noise": 0}),
        ((0.0, "other"), {"dataset.planted.label_noise": 0} | clipping),
        ((1.0, "ours"), {"dataset.planted.label_noise": 1}),
        ((1.0, "other"), {"dataset.planted.label_noise": 1} | clipping),
    ]
    assert sweep("mine").pairs == [("paper", "no_alignment"), ("paper", "multimodal_only")]
    assert sweep("mine").seeds == [2, 3]
    excluded = "question: 1, excluded: [{noise: 0, choice: other}, {choice: other, noise: 1}]"
    config("study.yaml", f"grids: {{}}{REST.replace('question: 1, title', f'{excluded}, title')}")
    assert [cell.levels for cell in sweep("mine").cells] == [(0.0, "ours"), (1.0, "ours")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("question: 1", "question: 9", r"sweeps\.mine\.question: got 9, expected less than or equal to 8"),
        ("weights: [1]", "weights: [1, 1.0]", r"got weights \[1\.0, 1\.0\], expected each value once"),
        ("weights: [1]", "weights: []", r"sweeps\.mine\.weights: got \[\], List should have at least 1 item"),
        ("weights", "wieghts", r"sweeps\.mine\.wieghts: .* did you mean 'weights'"),
        ("weight_seeds: [1]", "weight_seeds: [1, 3]", r"got seeds \[3\] for choosing a weight and for comparing"),
        ("choice: {ours: {}, other: no_clipping}", "choice: {}", r"sweeps\.mine\.factors\.choice: got \{\}"),
        ("no_clipping", "no_cliping", r"variant of mine 'no_cliping', .* did you mean 'no_clipping'"),
        ("multimodal_only]", "multimodal]", r"variant of mine 'multimodal', .* did you mean 'multimodal_only'"),
        ("[no_alignment, multimodal_only]", "[no_alignment, no_alignment]", r"expected each value once"),
        ("other: no_clipping", "other: {}", r"mine: got the same settings for \(0\.0, 'ours'\) and \(0\.0, 'other'\)"),
        ("question: 1", "question: 1, excluded: [{noise: 2}]", r"got excluded \{'noise': 2\.0\}, expected levels"),
        ("question: 1", "question: 1, excluded: [{}]", r"got excluded \{\}, expected levels"),
    ],
)
def test_a_wrong_sweep_is_refused(config, old, new, message):
    config("study.yaml", f"grids: {{}}{REST.replace(SWEEP, SWEEP.replace(old, new))}")
    with pytest.raises(ValueError, match=message):
        sweep("mine")


def test_an_unknown_sweep_is_refused():
    with pytest.raises(ValueError, match=r"got sweep 'phas', expected one of config/study\.yaml; did you mean 'phase'"):
        sweep("phas")


def test_seeds_are_a_list_or_a_range(config):
    listed = ENTRY.replace("paper", "no_alignment").replace("[1, 2]", "[4, 3]")
    config("study.yaml", f"grids: {{small: [{ENTRY.replace('[1, 2]', '1-3')}, {listed}]}}{REST}")
    assert [run.seed for run in grid("small")] == [1, 2, 3, 4, 3]


def test_jobs_have_no_more_runs_than_their_entry_says_and_no_finished_ones(config):
    entry = ENTRY.replace("[1, 2]", "1-7, runs_per_job: 3")
    config("study.yaml", f"grids: {{small: [{entry}]}}{REST}")
    unfinished = [run for run in grid("small") if run.seed != 2]
    found = jobs("small", unfinished)
    assert [[run.seed for run in job.runs] for job in found] == [[1, 3], [4, 5, 6], [7]]
    fewer = jobs("small", [run for run in unfinished if run.seed not in (4, 7)])
    assert [(job.name, len(job.runs)) for job in fewer] == [(found[0].name, 2), (found[1].name, 2)]


def test_runs_of_a_grid_are_chosen_by_data_set_and_variant():
    assert {(run.variant, run.seed) for run in grid("small", "planted", ["paper", "mult"])} == {
        ("paper", 1111),
        ("paper", 1112),
        ("paper", 1113),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("smal",), r"got grid 'smal', expected one of config/study\.yaml; did you mean 'small'\?"),
        (
            (3,),
            r"got grid 3, expected one of config/study\.yaml: "
            r"benchmark, frozen, full, hosts, mosi, primary, small, splits",
        ),
        (("small", "plantd"), r"got dataset 'plantd', .* did you mean 'planted'"),
        (("small", "mosi"), r"grid small: got no run of dataset mosi"),
        (("small", "planted", ["papr"]), r"got variant of small 'papr', .* did you mean 'paper'"),
        (("small", "planted", ["mult"]), r"grid small: got no run of dataset planted and variants \['mult'\]"),
    ],
)
def test_a_typo_in_a_choice_of_runs_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        grid(*arguments)


def test_yaml_written_by_hand_reads_as_ever():
    assert load_yaml(paths.CONFIG / "study.yaml")["grids"]["small"][0]["seeds"] == "1111-1113"


def test_without_defaults_an_identity_holds_what_a_preset_or_a_variant_says():
    """So that a setting added later changes nothing; a part's kind is there even where the rest is its default."""
    stated = resolve("planted", "misa").identity(whole=False)
    assert stated["model"] == {"kind": "misa"}
    assert "unlabelled" not in stated["dataset"] and stated["dataset"]["planted"]["num_train"] == 1200
    changed = resolve("planted", "misa", overrides={"dataset.unlabelled.share": 0.5}).identity(whole=False)
    assert changed["dataset"]["unlabelled"] == {"share": 0.5}
    assert changed | {"dataset": stated["dataset"]} == stated
