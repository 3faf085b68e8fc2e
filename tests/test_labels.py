"""Oracle: a plain recomputation of every centre over all N samples at every step, in float64 numpy."""

import math

import numpy as np
import pytest
import torch

from msa_core.labels import FixedLabels, UnimodalLabelGenerator, running_average, with_predictions

WIDTHS = {"multimodal": 6, "text": 5, "audio": 3, "vision": 4}
BOUND = 3.0
EPS = 1e-8  # of the Self-MM release


class Recomputed:
    """The definition, written out: no running sum, no state but features and labels."""

    def __init__(self, labels, exclude_zero, distance, momentum=None, first_epoch=2):
        self.exclude_zero, self.distance = exclude_zero, distance
        self.momentum, self.first_epoch = momentum, first_epoch
        self.labels = {task: labels.astype(np.float64) for task in WIDTHS}
        self.features = {task: np.zeros((len(labels), width)) for task, width in WIDTHS.items()}
        self.centres = {}

    def update(self, features, index, epoch):
        if epoch >= self.first_epoch:
            y = self.labels["multimodal"][index]
            a_m = self.relative("multimodal", features["multimodal"])
            if a_m is not None:
                guarded = np.where(np.abs(a_m) < EPS, np.where(a_m < 0, -EPS, EPS), a_m)
                for task in ("text", "audio", "vision"):
                    a_s = self.relative(task, features[task])
                    if a_s is None:
                        continue
                    new = np.clip(y * a_s / (2 * guarded) + (y + a_s - a_m) / 2, -BOUND, BOUND)
                    old = self.labels[task][index]
                    share = (epoch - 1) / (epoch + 1) if self.momentum is None else self.momentum
                    self.labels[task][index] = share * old + (1 - share) * new
        for task in WIDTHS:
            self.features[task][index] = features[task]
            y = self.labels[task]
            positive = y > 0 if self.exclude_zero else y >= 0
            both = positive.any() and (y < 0).any()
            self.centres[task] = (
                (self.features[task][positive].mean(axis=0), self.features[task][y < 0].mean(axis=0)) if both else None
            )

    def relative(self, task, x):
        if self.centres[task] is None:
            return None
        d_pos, d_neg = (np.linalg.norm(x - centre, axis=1) for centre in self.centres[task])
        if self.distance == "squared":
            d_pos, d_neg = (d**2 / np.sqrt(x.shape[1]) for d in (d_pos, d_neg))
        return (d_neg - d_pos) / (d_pos + EPS)


def pair_of_generators(labels, exclude_zero=True, distance="l2", **schedule):
    ours = UnimodalLabelGenerator(len(labels), WIDTHS, BOUND, exclude_zero, distance, **schedule)
    ours.initialise(torch.arange(len(labels)), torch.from_numpy(labels))
    return ours, Recomputed(labels, exclude_zero, distance, **schedule)


def draw(rng, size):
    return {task: rng.standard_normal((size, width)).astype(np.float32) for task, width in WIDTHS.items()}


def step(ours, theirs, features, index, epoch):
    ours.update({task: torch.from_numpy(x) for task, x in features.items()}, torch.from_numpy(index), epoch)
    theirs.update(features, index, epoch)


def agree(ours, theirs):
    everyone = torch.arange(ours.num_samples)
    for task in WIDTHS:
        # float32 labels against float64 ones, over up to six epochs of averaging: a few units in the last place of 3.
        np.testing.assert_allclose(ours.labels(task, everyone), theirs.labels[task], rtol=1e-4, atol=1e-5, err_msg=task)


def mosi_like_labels(rng, size):
    return (np.round(rng.uniform(-BOUND, BOUND, size) * 5) / 5).clip(-BOUND, BOUND).astype(np.float32)


@pytest.mark.parametrize("exclude_zero", [True, False])
@pytest.mark.parametrize("distance", ["l2", "squared"])
@pytest.mark.parametrize("seed", [0, 1])
def test_running_sums_give_what_recomputing_gives(exclude_zero, distance, seed):
    rng = np.random.default_rng(seed)
    labels = mosi_like_labels(rng, 50)
    labels[:8] = 0  # so that exclude_zero matters
    ours, theirs = pair_of_generators(labels, exclude_zero, distance)
    for epoch in range(1, 7):
        for index in np.array_split(rng.permutation(50), 4):
            step(ours, theirs, draw(rng, len(index)), index, epoch)
            agree(ours, theirs)
    np.testing.assert_array_equal(ours.labels("multimodal", torch.arange(50)), labels)  # human labels, to the last bit
    moved = (ours.labels("text", torch.arange(50)).numpy() != labels).mean()
    assert moved > 0.9, "the comparison above compared labels that never moved"


def test_the_two_settings_of_exclude_zero_differ():
    rng = np.random.default_rng(0)
    labels = mosi_like_labels(rng, 40)
    labels[:15] = 0
    results = []
    for exclude_zero in (True, False):
        ours, theirs = pair_of_generators(labels, exclude_zero)
        draws = np.random.default_rng(1)
        for epoch in (1, 2):
            step(ours, theirs, draw(draws, 40), np.arange(40), epoch)
        results.append(ours.labels("text", torch.arange(40)))
    assert not torch.allclose(*results)


@pytest.mark.parametrize("momentum", [None, 0.0, 0.9])
@pytest.mark.parametrize("first_epoch", [2, 4])
def test_momentum_and_first_epoch(momentum, first_epoch):
    rng = np.random.default_rng(0)
    labels = mosi_like_labels(rng, 30)
    ours, theirs = pair_of_generators(labels, momentum=momentum, first_epoch=first_epoch)
    for epoch in range(1, 6):
        for index in np.array_split(rng.permutation(30), 3):
            step(ours, theirs, draw(rng, len(index)), index, epoch)
        agree(ours, theirs)
        moved = (ours.labels("text", torch.arange(30)).numpy() != labels).any()
        assert moved == (epoch >= first_epoch)


def test_samples_not_shown_yet_count_as_zero_features_as_in_the_release():
    rng = np.random.default_rng(3)
    ours, theirs = pair_of_generators(mosi_like_labels(rng, 30))
    step(ours, theirs, draw(rng, 10), np.arange(10), 1)
    step(ours, theirs, draw(rng, 10), np.arange(5, 15), 2)
    agree(ours, theirs)


def test_an_empty_class_leaves_labels_as_they_are():
    rng = np.random.default_rng(0)
    labels = np.abs(mosi_like_labels(rng, 20)) + 0.2
    labels = labels.clip(max=BOUND).astype(np.float32)
    ours, theirs = pair_of_generators(labels)
    for epoch in (1, 2, 3):
        step(ours, theirs, draw(rng, 20), np.arange(20), epoch)
        agree(ours, theirs)
    np.testing.assert_array_equal(ours.labels("text", torch.arange(20)), labels)


def test_a_class_that_empties_on_the_way():
    """One negative sample, whose generated text label turns positive: text's negative class has then no member."""
    labels = np.array([1.0, 2.0, -0.2], dtype=np.float32)
    ours, theirs = pair_of_generators(labels)
    index = np.arange(3)
    rng = np.random.default_rng(0)
    first = draw(rng, 3)
    first["text"] = np.array([[4.0] * 5, [5.0] * 5, [-4.0] * 5], dtype=np.float32)
    first["multimodal"] = np.array([[4.0] * 6, [5.0] * 6, [-4.0] * 6], dtype=np.float32)
    step(ours, theirs, first, index, 1)
    second = {**first, "text": np.full((3, 5), 4.5, dtype=np.float32)}  # all three at the positive centre
    step(ours, theirs, second, index, 2)
    agree(ours, theirs)
    assert (ours.labels("text", torch.arange(3)) > 0).all()
    before = ours.labels("text", torch.arange(3)).clone()
    step(ours, theirs, draw(rng, 3), index, 3)
    agree(ours, theirs)
    torch.testing.assert_close(ours.labels("text", torch.arange(3)), before)
    assert all(buffer.isfinite().all() for buffer in ours.buffers())


@pytest.mark.parametrize("y", [1.0, -1.0, 0.0])
def test_a_multimodal_distance_of_zero_gives_a_finite_label_within_the_bound(y):
    labels = np.array([1.0, -1.0, y], dtype=np.float32)
    ours, theirs = pair_of_generators(labels)
    rng = np.random.default_rng(0)
    features = draw(rng, 3)
    features["multimodal"] = np.array([[1.0] * 6, [-1.0] * 6, [0.0] * 6], dtype=np.float32)
    step(ours, theirs, features, np.arange(3), 1)
    midway = {task: x[2:] for task, x in features.items()}
    positive, negative = (ours.multimodal_sums / ours.multimodal_counts[:, None]).float()
    midway["multimodal"] = ((positive + negative) / 2)[None].numpy()
    step(ours, theirs, midway, np.array([2]), 2)
    label = ours.labels("text", torch.tensor([2]))
    assert label.isfinite().all()
    assert (label.abs() <= BOUND).all()


def test_a_step_is_on_the_device_of_the_batch_whatever_the_default_is():
    rng = np.random.default_rng(0)
    ours, theirs = pair_of_generators(mosi_like_labels(rng, 20))
    with torch.device("meta"):
        for epoch in (1, 2):
            step(ours, theirs, draw(rng, 20), rng.permutation(20), epoch)
    agree(ours, theirs)


def test_worked_by_hand():
    """Two samples on a line, all centres at +2 and -2."""
    generator = UnimodalLabelGenerator(2, {"multimodal": 1, "text": 1}, label_bound=3)
    index = torch.tensor([0, 1])
    generator.initialise(index, torch.tensor([1.0, -1.0]))
    generator.update({"multimodal": torch.tensor([[2.0], [-2.0]]), "text": torch.tensor([[2.0], [-2.0]])}, index, 1)
    # Sample 0: multimodal at 1: d_pos 1, d_neg 3, a_m = 2; text at 0: a_s = 0.
    # y' = 1*0/(2*2) + (1 + 0 - 2)/2 = -0.5; label = 1/3 * 1 + 2/3 * (-0.5) = 0.
    # Sample 1: multimodal at -1: d_pos 3, d_neg 1, a_m = -2/3; text at 1: a_s = 2.
    # y' = -1*2/(2*(-2/3)) + (-1 + 2 + 2/3)/2 = 1.5 + 5/6 = 7/3; label = -1/3 + 2/3 * 7/3 = 11/9.
    generator.update({"multimodal": torch.tensor([[1.0], [-1.0]]), "text": torch.tensor([[0.0], [1.0]])}, index, 2)
    torch.testing.assert_close(generator.labels("text", index), torch.tensor([0.0, 11 / 9]), atol=1e-6, rtol=0)
    torch.testing.assert_close(generator.labels("multimodal", index), torch.tensor([1.0, -1.0]))


def test_state_is_buffers_and_a_checkpoint_carries_it():
    rng = np.random.default_rng(0)
    ours, theirs = pair_of_generators(mosi_like_labels(rng, 20))
    for epoch in (1, 2):
        step(ours, theirs, draw(rng, 20), np.arange(20), epoch)
    assert not list(ours.parameters())
    restored = UnimodalLabelGenerator(20, WIDTHS, BOUND)
    restored.load_state_dict(ours.state_dict())
    step(restored, theirs, draw(rng, 20), np.arange(20), 3)
    agree(restored, theirs)


def test_features_keep_no_graph():
    generator = UnimodalLabelGenerator(2, {"multimodal": 1, "text": 1}, label_bound=3)
    generator.initialise(torch.tensor([0, 1]), torch.tensor([1.0, -1.0]))
    x = torch.ones(2, 1, requires_grad=True)
    generator.update({"multimodal": x, "text": x}, torch.tensor([0, 1]), 1)
    assert not any(buffer.requires_grad for buffer in generator.buffers())


BAD_BOUNDS = [0, -1, math.inf, math.nan, "3", None, True]
BAD_SIZES = [0, -1, 1.5, True, 10**12, "3", None]


@pytest.mark.parametrize("exclude_zero", [True, False])
@pytest.mark.parametrize("task", ["multimodal", "text"])
def test_a_label_before_it_is_initialised_is_an_error(task, exclude_zero):
    generator = UnimodalLabelGenerator(3, {"multimodal": 2, "text": 2}, label_bound=1, exclude_zero=exclude_zero)
    with pytest.raises(ValueError, match=r"sample 0 has no label yet; call initialise"):
        generator.labels(task, torch.tensor([0]))
    with pytest.raises(ValueError, match=r"sample 1 has no label yet; call initialise"):
        generator.update(maps(1), torch.tensor([1]), 1)
    generator.initialise(torch.tensor([0, 1]), torch.tensor([0.5, -0.5]))
    assert generator.labels(task, torch.tensor([1, 0])).tolist() == [-0.5, 0.5]
    with pytest.raises(ValueError, match=r"sample 2 has no label yet"):
        generator.labels(task, torch.tensor([1, 2]))


def generator_of_four():
    generator = UnimodalLabelGenerator(4, {"multimodal": 2, "text": 2}, label_bound=1)
    generator.initialise(torch.arange(4), torch.tensor([1.0, -1.0, 0.5, 0.0]))
    return generator


def maps(size, width=2):
    return {"multimodal": torch.zeros(size, width), "text": torch.zeros(size, width)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.update(maps(3), torch.tensor([0, 1, 1]), 1), r"sample 1 twice in one batch"),
        (lambda g: g.initialise(torch.tensor([2, 2]), torch.zeros(2)), r"sample 2 twice in one batch"),
        (lambda g: g.update(maps(1), torch.tensor([4]), 1), r"got sample numbers 4\.\.4, expected 0\.\.3"),
        (lambda g: g.update(maps(1), torch.tensor([-1]), 1), r"got sample numbers -1\.\.-1, expected 0\.\.3"),
        (lambda g: g.update(maps(1), torch.tensor([0]), 0), r"got epoch 0, expected an integer, 1 or more"),
        (
            lambda g: g.update(maps(1, 3), torch.tensor([0]), 1),
            r"got \(1, 3\) for features of 'multimodal', expected \(1, 2\)",
        ),
        (
            lambda g: g.update({"multimodal": torch.zeros(1, 2)}, torch.tensor([0]), 1),
            r"got None for features of 'text'",
        ),
        (lambda g: g.initialise(torch.tensor([3]), torch.tensor([1.5])), r"label 1.5 for sample 3, .* within ±1"),
        (lambda g: g.initialise(torch.tensor([3]), torch.tensor([-1.5])), r"label -1.5 for sample 3, .* within ±1"),
        (lambda g: g.initialise(torch.tensor([3]), torch.tensor([torch.nan])), r"label nan for sample 3"),
        (lambda g: g.labels("text", torch.tensor([4])), r"got sample numbers 4\.\.4, expected 0\.\.3"),
        (lambda g: g.labels("text", torch.tensor([-1])), r"got sample numbers -1\.\.-1, expected 0\.\.3"),
        (lambda g: g.labels("text", torch.tensor([1.0])), r"got an index of shape \(1,\) and torch\.float32"),
        (lambda g: g.initialise(torch.tensor([True] * 4), torch.zeros(4)), r"and torch\.bool, expected sample numbers"),
        (lambda g: g.initialise(torch.arange(4), torch.zeros(3)), r"labels of shape \(3,\), expected \(4,\)"),
        *(
            (lambda g, epoch=epoch: g.update(maps(1), torch.tensor([0]), epoch), r"got epoch .*, expected an integer")
            for epoch in (1.5, math.nan, True, "2", None)
        ),
        (lambda g: g.labels("audio", torch.tensor([0])), r"got task 'audio', expected one of \['multimodal', 'text'\]"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_lost(call, message):
    generator = generator_of_four()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        call(generator)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_a_batch_of_no_samples_changes_nothing():
    generator = generator_of_four()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    generator.update(maps(0), torch.arange(0), 2)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, {"text": 2}, 1), r"expected a width for each task, 'multimodal' among them"),
        *(((4, {"multimodal": 2}, bound), r"got label_bound .*, expected a positive") for bound in BAD_BOUNDS),
        *(((size, {"multimodal": 2}, 1), r"num_samples .*, expected an integer within") for size in BAD_SIZES),
        *(((4, {"multimodal": size}, 1), r"width of 'multimodal': .*, expected an integer") for size in BAD_SIZES),
        ((4, ["multimodal"], 1), r"got feature_dims \['multimodal'\], expected a width for each task"),
        ((4, {"multimodal": 2}, 1, True, "cosine"), r"got distance 'cosine', expected 'l2' or 'squared'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        UnimodalLabelGenerator(*arguments)


@pytest.mark.parametrize(("name", "values"), [("momentum", [-0.1, 1, math.nan, "x"]), ("first_epoch", [1, 2.0, True])])
def test_a_wrong_schedule_is_refused(name, values):
    for value in values:
        with pytest.raises(ValueError, match=rf"got {name} {value}, expected .*"):
            UnimodalLabelGenerator(4, {"multimodal": 2}, 1, **{name: value})


@pytest.mark.parametrize("y", [1.0, -1.0])
@pytest.mark.parametrize(("a_m", "sign"), [(-1e-12, -1), (0.0, 1), (1e-12, 1)])
def test_a_multimodal_distance_below_the_guard_keeps_its_sign(y, a_m, sign):
    """y' = y a_s / (2 a_m) with a_m guarded to +-1e-8: the label runs to the bound of the sign of y a_s / a_m."""
    generator = UnimodalLabelGenerator(1, {"multimodal": 1, "text": 1}, label_bound=3)
    generator.initialise(torch.tensor([0]), torch.tensor([y]))
    a = {"multimodal": torch.tensor([a_m]), "text": torch.tensor([0.5])}
    generator._relative_distance = lambda task, _: (a[task], torch.tensor(True))
    generator.update({task: torch.zeros(1, 1) for task in a}, torch.tensor([0]), 2)
    # target +-3 (clamped), then 1/3 of the old label and 2/3 of the target
    torch.testing.assert_close(generator.labels("text", torch.tensor([0])), torch.tensor([y / 3 + sign * 2 * y]))


def test_running_sums_do_not_drift_over_many_steps():
    """Features of a large common offset: sums in float32 would lose their last digits at every step."""
    rng = np.random.default_rng(0)
    labels = mosi_like_labels(rng, 64)
    generator = UnimodalLabelGenerator(64, {"multimodal": 3}, BOUND)
    generator.initialise(torch.arange(64), torch.from_numpy(labels))
    for _ in range(300):
        features = torch.from_numpy((1000 + rng.standard_normal((64, 3))).astype(np.float32))
        generator.update({"multimodal": features}, torch.arange(64), 1)
    expected = features.double()[torch.from_numpy(labels) > 0].sum(dim=0)
    torch.testing.assert_close(generator.multimodal_sums[0], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("cast", "dtype"),
    [
        (lambda g: g.double(), torch.float64),
        (lambda g: g.bfloat16(), torch.float32),
        (lambda g: g.half(), torch.float32),
        (lambda g: g.to(torch.float64), torch.float64),
        (lambda g: g.double().float(), torch.float64),
    ],
)
def test_a_cast_never_narrows_the_state(cast, dtype):
    rng = np.random.default_rng(0)
    ours, theirs = pair_of_generators(mosi_like_labels(rng, 20))
    ours = cast(ours)
    for epoch in (1, 2, 3):
        step(ours, theirs, draw(rng, 20), rng.permutation(20), epoch)
        agree(ours, theirs)
    assert ours.labels("text", torch.arange(20)).dtype == ours.text_features.dtype == dtype
    assert ours.text_sums.dtype == ours.text_counts.dtype == torch.float64
    assert ours.text_present.dtype == torch.bool


def test_a_move_that_casts_too_takes_all_the_state_along():
    moved = generator_of_four().to("meta", torch.bfloat16)
    assert {buffer.device.type for buffer in moved.buffers()} == {"meta"}


@pytest.mark.parametrize("distance", ["l2", "squared"])
def test_in_float64_the_labels_are_those_of_the_definition_to_the_last_digits(distance):
    rng = np.random.default_rng(0)
    ours, theirs = pair_of_generators(mosi_like_labels(rng, 30), distance=distance)
    ours.double()
    for epoch in range(1, 6):
        features = {task: x.astype(np.float64) for task, x in draw(rng, 30).items()}
        step(ours, theirs, features, rng.permutation(30), epoch)
    for task in WIDTHS:
        np.testing.assert_allclose(ours.labels(task, torch.arange(30)), theirs.labels[task], rtol=1e-12, atol=1e-12)


def test_an_absent_modality_keeps_its_label_and_is_left_out_of_its_centres():
    """Equal to a generator of the other samples alone, but for the multimodal feature, which every sample has."""
    rng = np.random.default_rng(0)
    labels = mosi_like_labels(rng, 24)
    absent = np.zeros(24, dtype=bool)
    absent[[0, 5, 6, 20]] = True
    ours, _ = pair_of_generators(labels)
    theirs, _ = pair_of_generators(labels[~absent])
    theirs.multimodal_labels = torch.from_numpy(labels[~absent])
    for epoch in (1, 2, 3, 4):
        features = {task: torch.from_numpy(x) for task, x in draw(rng, 24).items()}
        present = {"audio": torch.from_numpy(~absent)}
        centres = ours.multimodal_sums.clone(), ours.multimodal_counts.clone()
        ours.update(features, torch.arange(24), epoch, present)
        theirs.multimodal_sums, theirs.multimodal_counts = centres
        kept = {task: x[torch.from_numpy(~absent)] for task, x in features.items()}
        theirs.update(kept, torch.arange(20), epoch)
    audio = ours.labels("audio", torch.arange(24)).numpy()
    np.testing.assert_array_equal(audio[absent], labels[absent])
    np.testing.assert_allclose(audio[~absent], theirs.labels("audio", torch.arange(20)), rtol=1e-5, atol=1e-6)
    assert (audio[~absent] != labels[~absent]).mean() > 0.9
    assert ours.audio_counts.sum() == (audio[~absent] != 0).sum()
    assert ours.text_counts.sum() == (ours.text_labels != 0).sum()


def test_a_sample_may_lose_a_modality_and_get_it_back():
    generator = UnimodalLabelGenerator(2, {"multimodal": 1, "text": 1}, label_bound=3)
    index = torch.tensor([0, 1])
    generator.initialise(index, torch.tensor([1.0, -1.0]))
    features = {"multimodal": torch.ones(2, 1), "text": torch.tensor([[2.0], [-4.0]])}
    generator.update(features, index, 1, {"text": torch.tensor([True, False])})
    assert generator.text_counts.tolist() == [1, 0]
    assert generator.text_sums.tolist() == [[2], [0]]
    generator.update(features, index, 1)
    assert generator.text_counts.tolist() == [1, 1]
    assert generator.text_sums.tolist() == [[2], [-4]]


def test_gather_makes_the_centres_those_of_the_whole_batch():
    """Each of two processes has half of the batch and gathers the other's: both hold what one process holds."""
    rng = np.random.default_rng(0)
    labels = mosi_like_labels(rng, 12)
    one, _ = pair_of_generators(labels)
    halves = []
    for half in (slice(0, 6), slice(6, 12)):
        generator, _ = pair_of_generators(labels)
        halves.append((half, generator))
    for epoch in (1, 2, 3):
        index, features = torch.from_numpy(rng.permutation(12)), draw(rng, 12)
        features = {task: torch.from_numpy(x) for task, x in features.items()}
        present = {"vision": torch.from_numpy(rng.random(12) < 0.7)}
        wholes = [index, *features.values(), *present.values()]
        one.update(features, index, epoch, present)
        for half, generator in halves:
            generator.gather = lambda x, half=half, wholes=wholes: next(
                whole for whole in wholes if whole.dtype == x.dtype and torch.equal(whole[half], x)
            )
            parts = [{name: x[half] for name, x in each.items()} for each in (features, present)]
            generator.update(parts[0], index[half], epoch, parts[1])
    for _, generator in halves:
        for name, buffer in generator.named_buffers():
            assert torch.equal(buffer, one.get_buffer(name)), name


# --- samples without y ------------------------------------------------------------------------------------------------


def labelled_but_for_the_third(given):
    """Two labelled samples, whose features become the centres at 1 and -1, and one without y."""
    labels = UnimodalLabelGenerator(3, {"multimodal": 1, "text": 1}, label_bound=3)
    labels.initialise(torch.arange(3), torch.tensor([2.0, -1.0, torch.nan]), {"text": torch.tensor(given)})
    features = torch.tensor([[1.0], [-1.0], [7.0]])
    labels.update({"multimodal": features, "text": features}, torch.arange(3), epoch=1)
    return labels


def update_third(labels, multimodal, text, prediction, epoch=2):
    features = {"multimodal": torch.tensor([[multimodal]]), "text": torch.tensor([[text]])}
    labels.update(features, torch.tensor([2]), epoch, predictions={"multimodal": torch.tensor([prediction])})
    return labels.labels("text", torch.tensor([2])).item()


def test_without_y_the_models_prediction_is_start_and_target_by_hand():
    """a_m = (1.5 - 0.5) / 0.5 = 2 and a_s = (1.2 - 0.8) / 0.8 = 0.5; y' = 1.2 * 0.5 / 4 + (1.2 + 0.5 - 2) / 2 = 0."""
    labels = labelled_but_for_the_third([torch.nan] * 3)
    assert labels.labels("text", torch.tensor([2])).isnan() and labels.labels("multimodal", torch.tensor([2])).isnan()
    assert labels.multimodal_counts.tolist() == labels.text_counts.tolist() == [1, 1]
    assert update_third(labels, 0.5, 0.2, prediction=1.2) == pytest.approx(1.2 / 3, abs=1e-6)
    assert labels.multimodal_counts.tolist() == [1, 1], "no class centre of the multimodal task has it"
    assert labels.text_counts.tolist() == [2, 1] and labels.text_sums[0].item() == pytest.approx(1.2)
    # Now text's centres are 0.6 and -1: a_s is 0 halfway, at -0.2; y' = (3 + 0 - 2) / 2, the prediction clamped to 3.
    expected = 1.2 / 3 / 2 + 0.5 / 2
    assert update_third(labels, 0.5, -0.2, prediction=9.0, epoch=3) == pytest.approx(expected, abs=1e-6)
    assert labels.labels("multimodal", torch.tensor([2])).isnan()


def test_without_y_a_given_unimodal_label_stays_and_is_in_its_centre():
    labels = labelled_but_for_the_third([9.0, 9.0, -2.0])  # of samples that have y it is not read
    assert labels.labels("text", torch.arange(3)).tolist() == [2.0, -1.0, -2.0]
    assert labels.text_counts.tolist() == [1, 2] and labels.multimodal_counts.tolist() == [1, 1]
    assert update_third(labels, 0.5, 0.2, prediction=1.2) == -2.0


def test_what_stands_in_for_y_must_be_there():
    with pytest.raises(ValueError, match=r"got 1 samples without a multimodal label and predictions of \['text'\]"):
        with_predictions(torch.tensor([1.0, torch.nan]), {"text": torch.zeros(2)})
    labels = UnimodalLabelGenerator(1, {"multimodal": 1, "text": 1}, label_bound=3)
    with pytest.raises(ValueError, match=r"got label 4\.0 for sample 0, expected a finite one within"):
        labels.initialise(torch.tensor([0]), torch.tensor([torch.nan]), {"text": torch.tensor([4.0])})


def test_fixed_labels_are_what_they_were_given_and_stay_so():
    own = {"multimodal": torch.tensor([1.0, -1.0, 0.5]), "text": torch.tensor([2.0, 0.0, -0.5])}
    labels = FixedLabels(own)
    assert labels.fixed and labels.tasks == ("multimodal", "text")
    labels.update({"text": torch.ones(1, 3)}, torch.tensor([0]), 5)
    assert labels.labels("text", torch.tensor([2, 0])).tolist() == [-0.5, 2.0]
    assert set(labels.state_dict()) == {"multimodal_labels", "text_labels"}


def test_the_share_of_a_new_label_falls_with_the_epochs():
    y, target = torch.tensor([1.0]), torch.tensor([4.0])
    assert [running_average(y, target, epoch).item() for epoch in (1, 2, 3)] == [4.0, 3.0, 2.5]
