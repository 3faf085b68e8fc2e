"""The loop, on planted data small enough for seconds."""

import os
import signal
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from msa_core import build
from msa_core.alignment import AlignmentLoss, covariance_distance
from msa_core.config import GroupsConfig, TrainingConfig, resolve
from msa_core.data import batches, planted_features
from msa_core.interfaces import Model, MSAOutput, Parts
from msa_core.labels import FixedLabels
from msa_core.metrics import regression_metrics
from msa_core.objective import MultiTaskLoss
from msa_core.progress import Interrupted
from msa_core.training import TrainingLoop, _parameter_groups, encodings, evaluate, fit, infer, predict

LOOKS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "repeat_interleave", "aten.equal")
EVALUATED = {"multimodal": {"mae": 1.0}}
COPIES = {"objective.labels": {"kind": "copied"}, "objective.weight_adjustment": False}


@pytest.fixture(scope="module")
def data():
    return planted_features(num_train=46, num_valid=20, num_test=20)


def config(**changes):
    return TrainingConfig(**{"batch_size": 8, "max_epochs": 3, "groups": GroupsConfig(), **changes})


def parts(train, **overrides):
    torch.manual_seed(0)
    return build.parts(
        resolve(
            "planted",
            overrides={"objective.alignment.pairs": {"audio-vision": 1}, "training.precision": "float32"} | overrides,
        ),
        train,
    )


def trained(data, settings, **arguments):
    made = parts(data["train"])
    return made.model, fit(made, data["train"], data["valid"], settings, **arguments)


def test_history_and_trajectories_hold_what_they_promise(data):
    _, fitted = trained(data, config())
    assert list(fitted.history["epoch"]) == [1, 2, 3]
    terms = {"loss_multimodal", "loss_text", "loss_audio", "loss_vision", "loss_alignment_audio_vision", "loss_total"}
    rates = {f"learning_rate_{group}" for group in ("text", "audio", "vision", "rest")}
    assert terms | rates | {"seconds", "valid_mae", "valid_corr"} <= set(fitted.history)
    assert (
        fitted.history.loc[0, ["loss_text", "loss_audio", "loss_vision"]] == 0
    ).all()  # labels are y: weight tanh(0)
    assert (fitted.history.loc[2, ["loss_text", "loss_audio", "loss_vision"]] > 0).all()
    start = fitted.trajectories.query("epoch == 0")
    assert list(start["id"]) == data["train"].ids
    for task in ("multimodal", "text", "audio", "vision"):
        np.testing.assert_array_equal(start[task], data["train"].labels)
    end = fitted.trajectories.query("epoch == 3")
    np.testing.assert_array_equal(end["multimodal"], data["train"].labels)
    assert not np.allclose(end["audio"], data["train"].labels)


def test_total_is_the_sum_of_its_terms(data):
    _, fitted = trained(data, config())
    names = ["loss_multimodal", "loss_text", "loss_audio", "loss_vision", "loss_alignment_audio_vision"]
    np.testing.assert_allclose(fitted.history[names].sum(axis=1), fitted.history["loss_total"], rtol=1e-5)


@pytest.mark.slow
def test_training_learns(data):
    made = parts(data["train"], **{"objective.alignment.pairs": {}}, **COPIES)
    settings = config(max_epochs=25, patience=25, groups=GroupsConfig(**{"text": {"learning_rate": 1e-3}}))
    fitted = fit(made, data["train"], data["valid"], settings)
    median = np.median(data["train"].labels)
    trivial = np.abs(data["train"].labels.numpy() - median).mean()
    assert fitted.history["loss_multimodal"].iloc[-1] < 0.6 * trivial


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(data):
    runs = [trained(data, config(), seed=seed) for seed in (1, 1, 2)]
    first, again, other = (predict(model, data["test"])["multimodal"] for model, _ in runs)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    columns = [column for column in runs[0][1].history if column != "seconds"]
    assert runs[0][1].history[columns].equals(runs[1][1].history[columns])


def test_with_fixed_labels_each_unimodal_task_is_trained_on_its_own(data):
    """One batch is the epoch, so that its terms are those of the untrained model; vision's and audio's: no dropout."""
    model = parts(data["train"], **{"model.unimodal.audio.dropout": 0}).model
    predicted = predict(model, data["train"])
    y_vision = data["train"].unimodal_labels["vision"].numpy()
    settings = config(batch_size=64, max_epochs=1)
    objective = MultiTaskLoss(weight_adjustment=False)
    y = data["train"].labels
    own = {"multimodal": y, "text": y, "audio": y, "vision": data["train"].unimodal_labels["vision"]}
    made = Parts(model, objective, FixedLabels(own))
    terms = fit(made, data["train"], data["valid"], settings).history.loc[0]
    assert terms["loss_vision"] == pytest.approx(np.abs(predicted["vision"] - y_vision).mean(), rel=1e-5)
    assert terms["loss_audio"] == pytest.approx(np.abs(predicted["audio"] - y.numpy()).mean(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:constant predictions")  # a rate this high may stun the model for an epoch
def test_the_best_weights_are_kept_and_belong_to_the_best_epoch(data):
    settings = config(max_epochs=8, groups=GroupsConfig(**{"rest": {"learning_rate": 0.05}}))  # a bumpy road
    model, fitted = trained(data, settings)
    found = evaluate(model, data["valid"], "mosi")["multimodal"]["mae"]
    assert fitted.best_epoch == fitted.history["valid_mae"].argmin() + 1
    assert found == fitted.history["valid_mae"].min()
    assert fitted.best_epoch < 8, "the last epoch was the best: nothing was tested"


@pytest.mark.filterwarnings("ignore:constant predictions")
def test_early_stopping_waits_for_patience_and_no_longer(data):
    settings = config(max_epochs=30, patience=2, groups=GroupsConfig(**{"rest": {"learning_rate": 0.05}}))
    _, fitted = trained(data, settings)
    assert len(fitted.history) == fitted.best_epoch + 2 < 30


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(data, tmp_path):
    whole_model, whole = trained(data, config(max_epochs=5))
    state = tmp_path / "state.pt"
    trained(data, config(max_epochs=3, state_every=0), state_file=state)
    torch.manual_seed(999)  # whatever the new process does first
    resumed_model, resumed = trained(data, config(max_epochs=5, state_every=0), state_file=state)
    columns = [column for column in whole.history if column != "seconds"]
    assert resumed.history[columns].equals(whole.history[columns])
    assert resumed.trajectories.equals(whole.trajectories)
    for ours, theirs in zip(resumed_model.state_dict().values(), whole_model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("stop", [1, 3, 5, 6, 7])
def test_a_run_interrupted_within_an_epoch_goes_on_as_if_nothing_had_happened(stop, data, tmp_path, monkeypatch):
    """6 batches an epoch, steps of 2 batches (the state is saved after each), averaged weights, generated labels."""
    settings = config(max_epochs=3, accumulate=2, average=True, state_every=0)
    whole_model, whole = trained(data, settings)
    count = 0
    original = TrainingLoop._backward

    def backward(loop, batch, samples, epoch):
        nonlocal count
        count += 1
        if count == 6 + stop:  # of the second epoch, or the first of the third
            raise KeyboardInterrupt
        return original(loop, batch, samples, epoch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingLoop, "_backward", backward)
        trained(data, settings, state_file=tmp_path / "state.pt")
    torch.manual_seed(999)  # whatever the new process does first
    count = 0
    monkeypatch.setattr(TrainingLoop, "_backward", backward)
    stop = 100
    resumed_model, resumed = trained(data, settings, state_file=tmp_path / "state.pt")
    assert count <= 12 and count % 2 == 0, "it began anew"
    columns = [column for column in whole.history if column != "seconds"]
    assert resumed.history[columns].equals(whole.history[columns])
    assert (resumed.history["seconds"] > 0).all()
    assert resumed.trajectories.equals(whole.trajectories)
    for ours, theirs in (
        (resumed_model, whole_model),
        (resumed.averaged, whole.averaged),
    ):
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value)


def test_a_stopped_training_without_a_state_file_says_that_nothing_is_saved(data, monkeypatch):
    monkeypatch.setattr("msa_core.training.evaluate", lambda *_: os.kill(os.getpid(), signal.SIGTERM) or EVALUATED)
    with pytest.raises(Interrupted, match=r"SIGTERM stopped the training in epoch 2 after 0 batches: nothing is saved"):
        trained(data, config(max_epochs=2))


def test_in_another_thread_no_signal_is_taken_over(data):
    """Python allows it in the main thread alone."""
    with ThreadPoolExecutor(1) as pool:
        _, fitted = pool.submit(trained, data, config(max_epochs=1)).result()
    assert len(fitted.history) == 1


class Linear(Model):
    """A model whose gradient is known: predicts w times the number of frames."""

    def __init__(self):
        super().__init__()
        self.head = nn.ParameterDict({"w": torch.tensor(0.5)})
        self.tasks = ("multimodal",)
        self.encoding_widths, self.feature_widths = {}, {"multimodal": 1}

    def forward(self, batch):
        return MSAOutput({"multimodal": self.head["w"] * batch.lengths["audio"]}, {}, {})


@pytest.mark.parametrize("accumulated", ["mean", "sum"])
@pytest.mark.parametrize("drop_remainder", [False, True])
def test_accumulated_gradients_are_the_mean_over_samples_or_the_sum_over_batches(
    accumulated, drop_remainder, data, monkeypatch
):
    """46 samples in 6 batches, 4 to a window: steps over 4 and 2 batches; remainder dropped: one step over 4 of 8."""
    seen = []

    class Recorder(torch.optim.Adam):
        def step(self, closure=None):
            seen.append(self.param_groups[0]["params"][0].grad.item())
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Recorder)
    settings = config(
        accumulate=4, max_epochs=1, max_gradient_norm=None, accumulated=accumulated, drop_remainder=drop_remainder
    )
    model, train = Linear(), data["train"]
    order = list(batches(train, 8, shuffle_seed=5 * 100_003 + 1, multiple=32 if drop_remainder else 1))
    lengths = [batch.lengths["audio"].float() for batch in order]
    labels = [batch.labels for batch in order]
    made = Parts(model, MultiTaskLoss(), FixedLabels({"multimodal": train.labels}))
    fit(made, train, data["valid"], settings, seed=5)
    w, expected = 0.5, []
    for window in (slice(0, 4),) if drop_remainder else (slice(0, 4), slice(4, 6)):
        gradients = [(w * x - y).sign() * x for x, y in zip(lengths[window], labels[window], strict=True)]
        whole = torch.cat(gradients).mean() if accumulated == "mean" else sum(part.mean() for part in gradients)
        expected.append(whole.item())
        w -= 1e-3 * np.sign(expected[-1])  # the size of Adam's first step is the learning rate
    assert len(seen) == len(expected)
    np.testing.assert_allclose(seen, expected, rtol=1e-5)


def test_gradients_are_clipped_or_left_as_they_are(data, monkeypatch):
    norms: list[float] = []
    original = torch.optim.Adam.step

    def step(self, *arguments):
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(torch.stack([grad.norm() for grad in grads]).norm().item())
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    trained(data, config(max_gradient_norm=0.01, max_epochs=1))
    assert len(norms) == 6
    assert max(norms) <= 0.01 * (1 + 1e-4)
    trained(data, config(max_gradient_norm=1e9, max_epochs=1))
    trained(data, config(max_gradient_norm=None, max_epochs=1))
    assert norms[6:12] == norms[12:] and min(norms[6:]) > 0.1


def test_the_settings_of_batches_reach_the_loop(data):
    train = data["train"]
    for settings, arguments in (
        ({"by_length": False}, {"by_length": False}),
        ({"drop_remainder": True, "accumulate": 2}, {"multiple": 16}),
    ):
        loop = TrainingLoop(parts(train), train, config(**settings), seed=5)
        found = [batch.index.tolist() for batch in loop.batches(2)]
        assert found == [b.index.tolist() for b in batches(train, 8, shuffle_seed=5 * 100_003 + 2, **arguments)]
        assert len(found) == loop.batches_an_epoch == len(list(loop.steps(2)))


def test_frozen_extractors_stay_as_they_begin_and_what_is_behind_them_trains(data):
    made = parts(data["train"], **{"model.frozen_extractors": True}, **COPIES)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    loop = TrainingLoop(made, data["train"], config())
    for _ in loop.steps(1):
        pass
    extractors = ("encoders.text.", "encoders.audio.lstm.", "encoders.vision.lstm.")
    unmoved = ("absent.",)  # no sample lacks a modality
    for name, parameter in made.model.named_parameters():
        assert parameter.requires_grad != name.startswith(extractors), name
        assert torch.equal(parameter, before[name]) == name.startswith(extractors + unmoved), name
        assert (parameter in loop.optimizer.state) != name.startswith(extractors + unmoved), name
    batch = data["train"].batch(torch.arange(4))
    text = [made.model.train()(batch).encodings["text"] for _ in range(2)]
    assert torch.equal(*text), "dropout in a frozen encoder"
    assert made.model.training and not made.model.encoders["text"].transformer.training
    assert {group["name"] for group in loop.optimizer.param_groups} == {"audio", "vision", "rest"}


def test_parameter_groups(data):
    model = parts(data["train"]).model
    objective = MultiTaskLoss(
        AlignmentLoss([("text", "audio")], feature_dims={"text": 64, "audio": 32}, common_width=32)
    )
    groups = _parameter_groups(model, objective, GroupsConfig())
    assert sum(len(group["params"]) for group in groups) == len([*model.parameters(), *objective.parameters()])
    names = {id(p): name for name, p in [*model.named_parameters(), *objective.named_parameters()]}
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            expected = name.split(".")[1] if name.startswith("encoders.") else "rest"
            assert group["name"] == expected
            bare = name.endswith(("bias", "bias_ih_l0", "bias_hh_l0")) or "LayerNorm" in name
            bare = bare or name.startswith("absent.")
            assert group["weight_decay"] == (0.0 if bare else 0.001), name
    assert {group["name"]: group["lr"] for group in groups} == {
        "text": 5e-5,
        "audio": 5e-3,
        "vision": 5e-3,
        "rest": 1e-3,
    }


def test_a_loss_that_is_not_finite_stops_with_its_name_epoch_and_batch(data):
    spoilt = data["train"].labels.clone()
    order = list(batches(data["train"], 8, shuffle_seed=1 * 100_003 + 1))
    spoilt[order[2].index[0]] = torch.nan
    train = replace(data["train"], labels=spoilt)
    made = parts(train, **COPIES)
    with pytest.raises(FloatingPointError, match=r"loss term multimodal.* not finite in epoch 1, batch 3"):
        fit(made, train, data["valid"], config(), seed=1)


def test_the_spoilt_term_is_the_one_named(data):
    made = parts(data["train"])
    with torch.no_grad():
        made.model.heads["audio"].out.bias.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match=r"loss term audio is not finite in epoch 1, batch 1"):
        fit(made, data["train"], data["valid"], config())


def test_predictions_that_are_not_finite_are_refused(data):
    model = parts(data["train"]).model
    with torch.no_grad():
        model.heads["audio"].out.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"predictions of audio on test are not finite"):
        predict(model, data["test"])


def test_predictions_are_in_the_order_of_the_split(data):
    model = parts(data["train"]).model
    model.eval()
    predicted = predict(model, data["test"])["multimodal"]
    alone = [model(data["test"].batch(torch.tensor([i]))).predictions["multimodal"].item() for i in range(20)]
    np.testing.assert_allclose(predicted, alone, rtol=1e-4, atol=1e-5)
    assert encodings(model, data["test"])["vision"].shape == (20, 32)


def test_one_pass_gives_predictions_and_encodings(data):
    model = parts(data["train"]).model
    both = infer(model, data["test"], "predictions", "encodings")
    for task, predicted in predict(model, data["test"]).items():
        np.testing.assert_array_equal(both["predictions"][task], predicted)
    for modality, encoded in encodings(model, data["test"]).items():
        np.testing.assert_array_equal(both["encodings"][modality], encoded)


def test_evaluation_is_the_metrics_of_the_predictions(data):
    model = parts(data["train"]).model
    found = evaluate(model, data["test"], "mosi")
    for task, predicted in predict(model, data["test"]).items():
        assert found[task] == regression_metrics(predicted, data["test"].labels, "mosi")


def test_a_run_in_bfloat16_follows_one_in_float32(data):
    _, wide = trained(data, config())
    model, narrow = trained(data, config(precision="bf16"))
    # bfloat16 has 8 bits of mantissa: 1 part in 256 in each activation.
    np.testing.assert_allclose(narrow.history["valid_mae"], wide.history["valid_mae"], rtol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    _, again = trained(data, config())
    assert again.history["valid_mae"].equals(
        wide.history["valid_mae"]
    )  # one fit's precision does not leak into the next


class OwnLosses(Linear):
    """A model with a loss term of its own, an encoder of another name and a parameter at the top."""

    def __init__(self):
        super().__init__()
        self.top, self.encoders = nn.Parameter(torch.ones(2)), nn.ModuleDict({"depth": nn.Linear(1, 1)})

    def forward(self, batch):
        own = {"difference": self.top.square().sum() + self.encoders["depth"].weight.square().sum()}
        return super().forward(batch)._replace(losses=own)


def test_a_model_of_ones_own_trains_with_its_own_losses(data):
    torch.manual_seed(0)
    model, train = OwnLosses(), data["train"]
    before = model.encoders["depth"].weight.item() ** 2
    made = Parts(model, MultiTaskLoss(), FixedLabels({"multimodal": train.labels}))
    history = fit(made, train, data["valid"], config(max_epochs=2)).history
    total = history["loss_multimodal"] + history["loss_difference"]
    np.testing.assert_allclose(history["loss_total"], total, rtol=1e-6)
    assert history["loss_difference"][1] < history["loss_difference"][0] < 2 + before
    assert [column for column in history if column.startswith("learning_rate")] == ["learning_rate_rest"]


def test_training_with_absent_modalities(data):
    """Half of the samples lack vision, and none of the test split has it: everything stays finite and trains."""
    train, valid = (data[split].dropping("vision", 0.5, seed=1) for split in ("train", "valid"))
    made = parts(train)
    untrained = made.model.absent["vision"].clone()
    fitted = fit(made, train, valid, config(max_epochs=3))
    assert np.isfinite(fitted.history.drop(columns="valid_corr")).all(axis=None)
    assert not torch.equal(made.model.absent["vision"], untrained)
    end = fitted.trajectories.query("epoch == 3").set_index("id")["vision"]
    gone = [identity for identity, there in zip(train.ids, train.present["vision"], strict=True) if not there]
    labels = dict(zip(train.ids, train.labels.tolist(), strict=True))
    assert end[gone].tolist() == pytest.approx([labels[identity] for identity in gone])
    assert len(predict(made.model, data["test"].dropping("vision", 1.0, seed=1))["multimodal"]) == 20


def test_modality_dropout_is_drawn_anew_in_each_epoch(data):
    """A quarter of 46 samples without vision is 12 (11.5, to the even one), half without text is 23; none is added
    to the valid split."""
    settings = config(modality_dropout={"vision": 0.25, "text": 0.5}, max_epochs=1)
    loop = TrainingLoop(parts(data["train"]), data["train"], settings, seed=3)

    def without(modality, epoch):
        return {i for batch in loop.batches(epoch) for i in batch.index[~batch.present[modality]].tolist()}

    first, second = (without("vision", epoch) for epoch in (1, 2))
    assert len(first) == len(second) == 12 and len(without("text", 1)) == 23
    assert first != second and first == without("vision", 1)
    plain = TrainingLoop(parts(data["train"]), data["train"], config(), seed=3)
    assert [batch.index.tolist() for batch in loop.batches(1)] == [batch.index.tolist() for batch in plain.batches(1)]
    model, fitted = trained(data, settings, seed=3)
    assert fitted.history["valid_mae"][0] == evaluate(model, data["valid"], "mosi")["multimodal"]["mae"]
    assert not torch.equal(model.absent["vision"], torch.zeros(32))


def test_a_term_is_averaged_over_the_samples_of_the_batches_that_have_it(data):
    """Vision is there in two samples alone: most batches do not measure the pair, and count for nothing."""
    present = torch.zeros(46, dtype=torch.bool)
    present[[0, 1]] = True
    train = replace(data["train"], dropped={"vision": ~present})
    made = parts(train, **{"objective.alignment.scale": 0.0})
    whole = next(iter(batches(train, 46)))
    made.model.eval()
    both = made.model(whole).encodings
    rows = [whole.index.tolist().index(i) for i in (0, 1)]
    expected = covariance_distance(both["audio"][rows], both["vision"][rows]).item()
    fitted = fit(made, train, data["valid"], config(batch_size=46, max_epochs=1))
    assert fitted.history["loss_alignment_audio_vision"][0] == pytest.approx(expected, rel=1e-5)
    loop = TrainingLoop(parts(train), train, config(batch_size=2))
    terms = [set(batch_terms) for _, batch_terms in loop.steps(1)]
    assert sum("alignment_audio_vision" in names for names in terms) <= 1


@pytest.mark.slow
def test_the_averaged_weights_are_the_moving_average_of_every_step(data):
    """Decay min(0.99, (1 + n) / (10 + n)) after n steps, from the weights after the first."""
    settings = config(average=True, batch_size=16)
    loop = TrainingLoop(parts(data["train"]), data["train"], settings)
    weight = loop.model.fusion.linear.weight
    seen = []
    for epoch in range(1, 40):
        for _ in loop.steps(epoch):
            seen.append(weight.detach().double().clone())
    expected = seen[0]
    for steps, current in enumerate(seen[1:], start=1):
        decay = min(0.99, (1 + steps) / (10 + steps))
        expected = decay * expected + (1 - decay) * current
    assert len(seen) == 39 * 3
    torch.testing.assert_close(loop.averaged.module.fusion.linear.weight.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_averaging_changes_nothing_of_the_run_and_is_selected_by_its_own_error(data, tmp_path):
    settings = config(max_epochs=6, groups=GroupsConfig(**{"rest": {"learning_rate": 0.02}}))
    _, plain = trained(data, settings)
    _, fitted = trained(data, settings.model_copy(update={"average": True}))
    own = [column for column in plain.history if column != "seconds"]
    assert plain.history[own].equals(fitted.history[own])
    assert plain.averaged is None
    assert fitted.best_epoch_averaged == fitted.history["valid_averaged_mae"].argmin() + 1
    again = evaluate(fitted.averaged, data["valid"], "mosi")["multimodal"]
    assert again["mae"] == fitted.history["valid_averaged_mae"].min()

    state = tmp_path / "state.pt"
    average = {"average": True, "state_every": 0}
    trained(data, settings.model_copy(update=average | {"max_epochs": 3}), state_file=state)
    _, resumed = trained(data, settings.model_copy(update=average), state_file=state)
    columns = [column for column in fitted.history if column != "seconds"]
    assert resumed.history[columns].equals(fitted.history[columns])
    for ours, theirs in zip(resumed.averaged.parameters(), fitted.averaged.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_in_float64_every_number_is_float64(data):
    settings = resolve("planted", overrides={"training.precision": "float64", "training.batch_size": 8})
    double = {split: features.to(torch.float64) for split, features in data.items()}
    torch.manual_seed(0)
    made = build.parts(settings, double["train"])
    fitted = fit(made, double["train"], double["valid"], config(precision="float64", average=True))
    tensors = [*made.model.state_dict().values(), *made.objective.state_dict().values()]
    tensors += [*made.labels.state_dict().values(), *fitted.averaged.state_dict().values()]
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.float64}
    assert {values.dtype for values in predict(made.model, double["test"]).values()} == {np.dtype(np.float64)}
    assert {values.dtype for values in encodings(made.model, double["test"]).values()} == {np.dtype(np.float64)}
    assert fitted.trajectories["audio"].dtype == np.float64
    batch = double["train"].batch(torch.tensor([0, 1]))
    assert batch.labels.dtype == batch.sequences["audio"].dtype == torch.float64
    assert batch.sequences["text"].dtype == torch.int64


class Looks(TorchDispatchMode):
    """Notes where the program asks for a tensor's values: if they were a GPU's, it would have to wait for them."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        places = args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else []
        masks = [x for x in places if isinstance(x, torch.Tensor) and x.dtype == torch.bool]
        if (masks and "index" in str(function)) or any(name in str(function) for name in LOOKS):
            frames = [(Path(frame.filename).name, frame.name) for frame in traceback.extract_stack()]
            if not ON_CPU & {*frames, *(file for file, _ in frames)}:
                self.found.add((str(function), *frames[-4:]))
        return function(*args, **(kwargs or {}))


# Lengths and sample numbers are on the CPU: making a batch, packing, the check of an index.
ON_CPU = {"order.py", "ragged.py", "features.py", "rnn.py", ("encoders.py", "states"), ("labels.py", "_checked")}


@pytest.mark.parametrize("variant", ["paper", "misa", "mult", "mag_bert"])
def test_a_step_looks_at_nothing_that_a_gpu_would_have(data, variant):
    """As far as it can be told without one; tests/test_gpu.py has the rest."""
    settings = {"training.precision": "float32", "training.batch_size": 8, "training.average": False}
    made = build.parts(resolve("planted", variant, overrides=settings), data["train"])
    loop = TrainingLoop(made, data["train"], config())
    with Looks() as looks:
        for epoch in (1, 2):
            for _ in islice(loop.steps(epoch), 3):
                pass
    assert not looks.found
