"""Train a model of thuiar/MMSA as it is; runs in MMSA's own environment, called by `training.py`, `rivals.py` and
`workflow/mmsa_arithmetics.py`.

Only MMSA's public parts are called: its configuration, loader, model and trainer. A clock stands around each pass over
the train split, so that the steps' time is told from that of metrics and validation. Two things
are replaced so that it runs: MISA's map of the text, which is written for states 768 wide, and the call of MulT's
schedule of learning rates, which newer versions of torch refuse.

Prints one line of JSON: elapsed and processor seconds of each training epoch, batches an epoch, best epoch, test MAE
and each test sample's error (with the weights of that epoch, which MMSA itself chose), MMSA's version.
"""

import argparse
import contextlib
import importlib.metadata
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

from mmsa_loader import require_mmsa


class Enough(Exception):
    """Raised in MMSA's loop after the requested number of epochs."""


def all_done():
    """Wait until a GPU has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Clocked:
    """A loader that notes how long the latest pass over it took, and allows so many of them (0: any number)."""

    def __init__(self, loader, passes):
        self.loader, self.passes, self.number, self.elapsed = loader, passes, 0, (0.0, 0.0)

    def __iter__(self):
        if self.number == self.passes and self.passes:
            raise Enough
        self.number += 1
        all_done()
        started = time.perf_counter(), time.process_time()
        yield from self.loader
        all_done()
        self.elapsed = time.perf_counter() - started[0], time.process_time() - started[1]

    def __len__(self):
        return len(self.loader)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, help="feature file with all three modalities, in MMSA's layout")
    parser.add_argument("text_encoder", help="folder of a BERT")
    parser.add_argument("--text-width", type=int, required=True, help="of its last hidden state")
    parser.add_argument("--model", default="self_mm", help="MMSA's name of it (default: self_mm)")
    parser.add_argument("--seed", type=int, default=1111)
    parser.add_argument("--epochs", type=int, default=0, help="stop after so many; 0: when MMSA stops by itself")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--matmul-precision", default="highest", help="see torch.set_float32_matmul_precision")
    arguments = parser.parse_args()
    require_mmsa()
    import torch

    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision(arguments.matmul_precision)
    torch.cuda.set_device = lambda _: None  # MMSA calls it without a GPU too; with one, the first is the default
    from MMSA.config import get_config_regression
    from MMSA.data_loader import MMDataLoader
    from MMSA.models import AMIO
    from MMSA.trains import ATIO
    from MMSA.utils import setup_seed

    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau  # torch 2.7 and later know no `verbose`, which MulT sets
    module = sys.modules["MMSA.trains.singleTask.MULT"]
    module.ReduceLROnPlateau = lambda *positional, verbose, **named: plateau(*positional, **named)  # noqa: ARG005
    logging.getLogger("MMSA").setLevel(logging.WARNING)
    config = get_config_regression(arguments.model, "mosi")
    config.update(
        custom_feature=str(arguments.features),
        feature_T="",
        feature_A="",
        feature_V="",
        train_mode="regression",
        device=torch.device(arguments.device),
        cur_seed=1,
    )
    if config.get("use_bert"):
        config.update(pretrained=arguments.text_encoder, text_out=arguments.text_width)
    with tempfile.TemporaryDirectory() as folder:
        config.update(model_save_path=Path(folder) / "model.pth")
        setup_seed(arguments.seed)
        loaders = MMDataLoader(config, 0)
        model = AMIO(config).to(config["device"])
        if arguments.model == "misa":
            model.Model.project_t.project_t = torch.nn.Linear(arguments.text_width, config.hidden_size)
        trainer = ATIO().getTrain(config)
        loaders["train"] = Clocked(loaders["train"], arguments.epochs)
        seconds, saved = [], []
        validate, save = trainer.do_test, torch.save

        def clocked_validate(*positional, mode="VAL", **named):
            if mode == "VAL":
                seconds.append(loaders["train"].elapsed)
            return validate(*positional, mode=mode, **named)

        def noted_save(*positional):  # MMSA saves each epoch that is better than all before, once it is validated
            saved.append(len(seconds))
            save(*positional)

        trainer.do_test, torch.save = clocked_validate, noted_save
        with contextlib.suppress(Enough):
            trainer.do_train(model, loaders)
        model.load_state_dict(torch.load(config["model_save_path"]))
        tested = trainer.do_test(model, loaders["test"], mode="TEST", return_sample_results=True)
        labels, predicted = (torch.as_tensor(tested[name]).flatten().tolist() for name in ("Labels", "SResults"))
        pairs = zip(tested["Ids"], predicted, labels, strict=True)
    elapsed, processor = zip(*seconds, strict=True)
    found = {"seconds": elapsed, "processor_seconds": processor, "batches": len(loaders["train"])}
    found |= {"best_epoch": saved[-1], "mae": float(tested["MAE"])}
    found |= {"errors": {name: abs(value - label) for name, value, label in pairs}}
    print(json.dumps(found | {"version": importlib.metadata.version("MMSA")}))


if __name__ == "__main__":
    main()
