"""A run on several processes against the same run on one, on CPUs, in float64 and without dropout.

The processes are forked from one that has torch loaded. What they return is compared with what one process gives:
equal to 1e-9 of the largest value, as sums are rounded in another order.
"""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from msa_core import build, paths, processes, records, run
from msa_core.alignment import AlignmentLoss
from msa_core.config import resolve
from msa_core.inference import infer
from msa_core.labels import UnimodalLabelGenerator
from msa_core.progress import Interrupted
from msa_core.training import TrainingLoop, fit

TOLERANCE = 1e-9
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["msa_core.run"])


def together(number, function, *arguments):
    """What a function returns in each of several processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ends = [CONTEXT.Pipe(duplex=False) for _ in range(number)]
    started = [
        CONTEXT.Process(target=_one_of, args=(place, number, port, end, function, arguments))
        for place, (_, end) in enumerate(ends)
    ]
    for process in started:
        process.start()
    for _, end in ends:
        end.close()
    results = [receiving.recv() for receiving, _ in ends]
    for process in started:
        process.join()
    return results


def _one_of(place, number, port, end, function, arguments):
    os.environ.update(
        {"RANK": str(place), "LOCAL_RANK": str(place), "WORLD_SIZE": str(number)},
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    processes.join("cpu")
    end.send(function(*arguments))


def assert_close(found, expected):
    """Arrays by name; relative to each one's largest value."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        scale = np.nanmax(np.abs(values)) if values.size else 0
        np.testing.assert_allclose(found[name], values, rtol=0, atol=TOLERANCE * scale, err_msg=name)


# --- gather ---------------------------------------------------------------------------------------------------------


class Mapped(nn.Module):
    """Two encoders, of which the alignment has a learned map behind `gather`."""

    def __init__(self, gather):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weights = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(4, width, generator=generator).double())
                for name, width in (("text", 5), ("audio", 3), ("unused", 1))
            }
        )
        pairs, widths = {"text-audio": 2.0}, {"text": 5, "audio": 3}
        self.loss = AlignmentLoss(pairs, feature_dims=widths, common_width=3, gather=gather).double()
        with torch.no_grad():
            self.loss.projections["text"].weight.copy_(torch.randn(3, 5, generator=generator))

    def forward(self, x, present):
        return self.loss({name: x @ self.weights[name] for name in ("text", "audio")}, present).total


def gathered(index):
    """The gradients by `gather`, with a mask that only the last sample fails, and what else it gives."""
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(2)).double()
    present = torch.arange(7) < 6
    module, own = Mapped(processes.gather), processes.share(index)
    module(x[own], {"audio": present[own]}).backward()
    processes.average_gradients(list(module.parameters()))
    gradients = {name: p.grad.numpy() for name, p in module.named_parameters() if p.grad is not None}
    labels = UnimodalLabelGenerator(7, {"multimodal": 4, "text": 4}, 3, gather=processes.gather).double()
    labels.initialise(torch.arange(7), torch.linspace(-2, 2, 7).double())
    for epoch in (1, 2):
        labels.update({"multimodal": x[own], "text": epoch * x[own].flip(1)}, own, epoch, {"text": present[own]})
    state = {name: value.double().numpy() for name, value in labels.state_dict().items()}
    return gradients, state, processes.gather(own).tolist(), processes.gather(present[own], 7).tolist()


@pytest.mark.parametrize("number", [2, 4])
def test_gather_gives_the_whole_batch_and_the_gradient_of_its_loss(number):
    """Seven samples: the parts are unequal. Autograd on the whole batch, in one process, is the oracle."""
    index = torch.tensor([3, 6, 0, 5, 1, 2, 4])
    expected, labels, *_ = gathered(index)
    assert expected.keys() == {"weights.text", "weights.audio", "loss.projections.text.weight"}
    for gradients, state, order, mask in together(number, gathered, index):
        assert order == index.tolist() and mask == (index < 6).tolist()
        assert_close(gradients, expected)
        assert_close(state, labels)


# --- training -------------------------------------------------------------------------------------------------------

ALL_PAIRS = {"audio-vision": 100.0, "text-audio": 1.0}
CASES = {
    "uneven batches, a learned map, averaged weights": {
        "objective.alignment.pairs": ALL_PAIRS,
        "training.max_gradient_norm": 0.5,
        "training.average": True,
    },
    "steps of 4 and 2 batches": {"training.accumulate": 4},
    "absent modalities, hidden labels, an order of samples that counts": {
        "dataset.missing": {"train": {"vision": 0.4}},
        "dataset.unlabelled.share": 0.2,
        "objective.alignment.distance": {"kind": "unbiased"},
        "training.accumulate": 2,
        "training.accumulated": "sum",
        "training.modality_dropout": {"audio": 0.3},
        "objective.contrast": {"weight": 0.1},
    },
    "encoders that most steps leave without a gradient": {
        "model": {"kind": "alternating"},
        "objective.labels": {"kind": "none"},
        "objective.alignment.pairs": {},
        "training.max_epochs": 2,
    },
}


def settings(**changes):
    small = {
        "dataset.planted": {"num_train": 46, "num_valid": 21, "num_test": 70},
        "training.batch_size": 8,
        "training.max_epochs": 3,
        "training.average": False,
    }
    return resolve("planted", overrides=small | changes)


def without_dropout(parts):
    for module in parts.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return parts


def trained(changes):
    """History, labels by epoch, weights and predictions of a training, as arrays by name."""
    config = settings(**changes)
    data = build.dataset(config)
    torch.manual_seed(config.seed)
    parts = without_dropout(build.parts(config, data["train"]))
    fitted = fit(parts, data["train"], data["valid"], config.training)
    arrays = {name: values.to_numpy() for name, values in fitted.history.drop(columns="seconds").items()}
    labels = fitted.trajectories.drop(columns="id")
    arrays |= {f"label of {task}": values.to_numpy() for task, values in labels.items()}
    # One array, hence one scale: of some weights (the biases of attention's keys) the gradient is rounding alone.
    arrays["weights"] = torch.cat([value.flatten() for value in parts.model.state_dict().values()]).numpy()
    arrays |= {f"test {task}": x for task, x in infer(parts.model, data["test"], "predictions")["predictions"].items()}
    return arrays


def all_trained():
    return {case: trained(changes) for case, changes in CASES.items()}


@pytest.mark.slow
def test_two_and_four_processes_train_as_one():
    expected = all_trained()
    assert len(expected["steps of 4 and 2 batches"]["loss_total"]) == 3
    for number in (2, 4):
        for found in together(number, all_trained):
            for case, arrays in expected.items():
                assert_close(found[case], arrays)


def averaged():
    """Of two parameters, one with a gradient in the last process alone, and one without any."""
    some, none = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))
    if processes.place() == processes.count() - 1:
        some.grad = torch.tensor([3.0, 6.0])
    processes.average_gradients([some, none])
    return some.grad.tolist(), none.grad


def drawn():
    torch.manual_seed(5)
    processes.part_random_numbers()
    return torch.rand(1).item()


def refused(changes):
    config = settings(**changes)
    data = build.dataset(config)
    with pytest.raises(ValueError) as error:
        fit(build.parts(config, data["train"]), data["train"], data["valid"], config.training)
    return str(error.value)


def several_refused():
    return [
        refused({"objective.balance": {"kind": "pcgrad"}}),
        refused({"model": {"kind": "misa"}, "objective.labels": {"kind": "none"}}),
        refused({"training.batch_size": 2}),
        averaged(),
        drawn(),
    ]


@pytest.mark.slow
def test_what_needs_one_process_is_refused_and_what_each_has_of_its_own_is_kept():
    random = []
    for balance, host, batches, gradients, number in together(3, several_refused):
        assert "training on 3 processes: got a balance that projects gradients (PCGrad)" in balance
        assert "got a model with losses of its own (similarity, difference, reconstruction)" in host
        assert "got batches of 2 samples, expected at least one for each process" in batches
        assert gradients == ([1.0, 2.0], None)
        random.append(number)
    assert random[0] == drawn() and len(set(random)) == 3


def stopped_and_resumed(file):
    """The weights of a training with dropout, and of one that a signal to the last process stops in between."""
    config = settings(**{"training.max_epochs": 2})
    data = build.dataset(config)

    def weights(state_file=None):
        torch.manual_seed(1)
        parts = build.parts(config, data["train"])
        fit(parts, data["train"], data["valid"], config.training, state_file=state_file)
        return torch.cat([value.flatten() for value in parts.model.state_dict().values()]).numpy()

    expected, steps = weights(), TrainingLoop.steps

    def signalled(loop, epoch, trained=0):
        for number, step in enumerate(steps(loop, epoch, trained)):
            if number == 3 and processes.place() == processes.count() - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield step

    TrainingLoop.steps = signalled
    with pytest.raises(Interrupted, match="SIGTERM stopped the training in epoch 1 after 4 batches"):
        weights(file)
    TrainingLoop.steps = steps
    return expected, weights(file)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_at_one_step_and_they_go_on_to_the_same_bits(tmp_path):
    """Dropout too: each process finds its own random numbers in the state."""
    first, second = together(2, stopped_and_resumed, tmp_path / "state.pt")
    for expected, resumed in (first, second):
        np.testing.assert_array_equal(resumed, expected)
        np.testing.assert_array_equal(resumed, first[0])


# --- runs -----------------------------------------------------------------------------------------------------------

WITHOUT_DROPOUT = {
    "dataset.modalities": ["audio", "vision"],
    **{f"model.{part}.dropout": 0.0 for part in ("audio", "vision", "fusion")},
    **{f"model.unimodal.{modality}.dropout": 0.0 for modality in ("audio", "vision")},
}


def contents(folder):
    """The numbers of a finished run, as arrays by name; its predictions' ids."""
    result = records.read_run(folder)
    columns = [result.history.drop(columns="seconds"), result.labels.drop(columns="id"), result.predictions]
    numbers = [frame.select_dtypes("number") for frame in columns]
    arrays = {f"{i} {name}": values.to_numpy() for i, frame in enumerate(numbers) for name, values in frame.items()}
    for split, tasks in result.metrics.items():
        arrays |= {f"{split} {task}": np.array(list(metrics.values())) for task, metrics in tasks.items()}
    return arrays | result.covariances, result.predictions["id"].tolist()


def run_and_writes(config, folder):
    """The contents of a run, and what this process writes under the folder's parent."""
    written = []

    def hook(event, arguments):
        changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree") or (
            event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if changes and str(arguments[0]).startswith(str(folder.parent)):
            written.append((event, str(arguments[0])))

    sys.addaudithook(hook)
    run.train(config, folder)
    return *contents(folder), written


@pytest.mark.slow
def test_a_run_counts_each_sample_once_and_the_main_process_alone_writes(tmp_path):
    config = settings(**WITHOUT_DROPOUT, **{"training.state_every": 0, "training.average": True})
    run.train(config, tmp_path / "one")
    expected, ids = contents(tmp_path / "one")
    for place, (found, found_ids, written) in enumerate(together(2, run_and_writes, config, tmp_path / "two")):
        assert found_ids == ids and len(set(ids)) == len(ids) == 46 + 21 + 70
        assert_close(found, expected)
        assert bool(written) == (place == 0), written
    assert records.read_run(tmp_path / "two").provenance["processes"] == 2


@pytest.mark.slow
def test_a_killed_process_ends_the_run_with_one_error_and_the_run_goes_on(tmp_path):
    """On one process, to the numbers of a run that was not disturbed."""
    overrides = WITHOUT_DROPOUT | {
        "dataset.planted": {"num_train": 160, "num_valid": 20, "num_test": 20},
        "training.batch_size": 8,
        "training.max_epochs": 3,
        "training.state_every": 0,
    }
    config, folder = resolve("planted", overrides=overrides), paths.run_folder("planted", "paper", 1111, tmp_path)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command = [*launch, "--main_process_port", "0", "-m", "msa_core", "planted", "--runs", str(tmp_path)]
    launcher = subprocess.Popen(
        [*command, "--overrides", json.dumps(overrides)], cwd=paths.ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        while not records.state_file(folder).is_file():
            assert launcher.poll() is None, launcher.stderr.read()
            time.sleep(0.02)
        (second,) = (each for each in psutil.Process(launcher.pid).children() if each.environ().get("RANK") == "1")
        second.send_signal(signal.SIGKILL)
        errors = launcher.communicate(timeout=120)[1]
    finally:
        launcher.kill()
    assert launcher.returncode != 0 and not records.is_finished(folder)
    assert errors.count("process 1 of 2: another process of this run was killed or has failed") == 1
    assert "start the same command again: the run goes on from its last saved state" in errors
    run.train(config, folder)
    run.train(config, tmp_path / "undisturbed")
    assert_close(contents(folder)[0], contents(tmp_path / "undisturbed")[0])


def test_a_single_process_is_left_as_it_is():
    x = torch.randn(3, 2, requires_grad=True)
    assert processes.count() == 1 and processes.is_main()
    assert processes.gather(x) is x and processes.share(x) is x
    assert processes.everyones("x") == ["x"] and processes.largest(3) == 3
