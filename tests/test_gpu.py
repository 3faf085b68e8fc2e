"""Training on a GPU: what a CPU trains, without waiting for the GPU at each step."""

from itertools import islice

import numpy as np
import pytest
import torch

from msa_core import build
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.labels import UnimodalLabelGenerator
from msa_core.training import TrainingLoop, encodings, fit, predict

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use; none is here")

VARIANTS = ["paper", "misa", "mult", "mag_bert"]
BATCHES = 6  # fewer than after which the loop asks whether a loss is finite


@pytest.fixture(scope="module")
def data():
    return planted_features(num_train=160, num_valid=40, num_test=40)


def parts(train, variant, precision, device="auto"):
    settings = {"training.precision": precision, "training.device": device, "training.batch_size": 16}
    settings |= {"training.average": False}  # torch counts the steps of an average on the GPU, and asks for the number
    config = resolve("planted", variant, overrides=settings)
    torch.manual_seed(0)
    return build.parts(config, train), config


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_waits_for_nothing(data, variant, precision):
    made, config = parts(data["train"], variant, precision)
    loop = TrainingLoop(made, data["train"], config.training)
    for epoch in (1, 2):  # labels move from the second on
        steps = loop.steps(epoch)
        next(steps)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in islice(steps, BATCHES):
                pass
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_a_gpu_trains_what_a_cpu_trains(data):
    fitted = {}
    for device in ("cpu", "auto"):
        made, config = parts(data["train"], "paper", "float64", device)
        for module in made.model.modules():  # no dropout, whose masks a GPU draws otherwise
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        three = config.training.model_copy(update={"max_epochs": 3})
        done = fit(made, data["train"].to(torch.float64), data["valid"].to(torch.float64), three)
        fitted[device] = done, predict(made.model, data["test"].to(torch.float64))
    (cpu, cpu_predictions), (gpu, gpu_predictions) = fitted.values()
    for column in cpu.history.columns.drop("seconds"):
        np.testing.assert_allclose(gpu.history[column], cpu.history[column], rtol=1e-6, atol=1e-8, err_msg=column)
    for task in ("text", "audio", "vision"):
        np.testing.assert_allclose(gpu.trajectories[task], cpu.trajectories[task], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(gpu_predictions["multimodal"], cpu_predictions["multimodal"], rtol=1e-6, atol=1e-8)


def test_encodings_arrive_whole(data):
    """They are copied while the next batch is computed."""
    made, _ = parts(data["train"], "paper", "float32")
    on_cpu = encodings(made.model, data["train"])
    on_gpu = encodings(made.model.cuda(), data["train"])
    for modality, values in on_cpu.items():
        np.testing.assert_allclose(on_gpu[modality], values, rtol=1e-2, atol=1e-3)


def test_labels_take_an_index_from_the_cpu():
    labels = UnimodalLabelGenerator(3, {"multimodal": 2, "text": 2}, label_bound=3).cuda()
    labels.initialise(torch.arange(3), torch.tensor([1.0, -1.0, 0.5]))
    assert labels.labels("text", torch.tensor([2, 0])).tolist() == [0.5, 1.0]
    with pytest.raises(ValueError, match=r"got sample numbers 0\.\.3, expected 0\.\.2"):
        labels.labels("text", torch.tensor([0, 3]))
    features = {task: torch.ones(2, 2, device="cuda") for task in ("multimodal", "text")}
    labels.update(features, torch.tensor([0, 1]), epoch=1)
    assert labels.get_buffer("text_features").sum() == 4
