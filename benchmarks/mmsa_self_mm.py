"""Train thuiar/MMSA's Self-MM as it is; runs in MMSA's own environment and is called by `training.py`.

Only MMSA's public parts are called: its configuration, loader, model and trainer. Around the trainer's two halves of
an epoch stand two clocks, so that its training time is told from its validation time.

Prints one line of JSON: seconds of each training epoch, batches an epoch, test MAE (with the weights that MMSA itself
chose; null if stopped early).
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path

import torch


class Enough(Exception):
    """Raised in MMSA's loop after the wanted number of epochs."""


class Clocked:
    """A loader that notes when a pass over it starts."""

    def __init__(self, loader):
        self.loader, self.started = loader, 0.0

    def __iter__(self):
        self.started = time.perf_counter()
        return iter(self.loader)

    def __len__(self):
        return len(self.loader)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", type=Path, help="feature file with all three modalities, in MMSA's layout")
    parser.add_argument("text_encoder", help="folder of a BERT")
    parser.add_argument("--text-width", type=int, required=True, help="of its last hidden state")
    parser.add_argument("--seed", type=int, default=1111)
    parser.add_argument("--epochs", type=int, default=0, help="stop after so many; 0: when MMSA stops by itself")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--matmul-precision", default="highest", help="see torch.set_float32_matmul_precision")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision(arguments.matmul_precision)
    torch.cuda.set_device = lambda _: None  # MMSA calls it without a GPU too
    from MMSA.config import get_config_regression
    from MMSA.data_loader import MMDataLoader
    from MMSA.models import AMIO
    from MMSA.trains import ATIO
    from MMSA.utils import setup_seed

    logging.getLogger("MMSA").setLevel(logging.WARNING)
    config = get_config_regression("self_mm", "mosi")
    config.update(
        custom_feature=str(arguments.features),
        feature_T="",
        feature_A="",
        feature_V="",
        pretrained=arguments.text_encoder,
        text_out=arguments.text_width,
        train_mode="regression",
        device=torch.device("cpu"),
        cur_seed=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        config.update(model_save_path=Path(folder) / "self_mm.pth")
        setup_seed(arguments.seed)
        loaders = MMDataLoader(config, 0)
        model = AMIO(config)
        trainer = ATIO().getTrain(config)
        loaders["train"] = Clocked(loaders["train"])
        seconds = []
        validate = trainer.do_test

        def clocked_validate(*positional, mode="VAL", **named):
            if mode == "VAL":
                seconds.append(time.perf_counter() - loaders["train"].started)
                if len(seconds) == arguments.epochs:
                    raise Enough
            return validate(*positional, mode=mode, **named)

        trainer.do_test = clocked_validate
        mae = None
        try:
            trainer.do_train(model, loaders)
        except Enough:
            pass
        else:
            model.load_state_dict(torch.load(config["model_save_path"]))
            mae = float(trainer.do_test(model, loaders["test"], mode="TEST")["MAE"])
    print(json.dumps({"seconds": seconds, "batches": len(loaders["train"]), "mae": mae}))


if __name__ == "__main__":
    main()
