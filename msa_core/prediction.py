"""What a finished run says: of samples that it has not seen, and the labels that it generated."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from msa_core import pretrained, records
from msa_core.data import FeatureSet, load_unlabelled, require_file
from msa_core.disk import created
from msa_core.encoders import load_tokenizer, most_tokens
from msa_core.frozen import freeze_text
from msa_core.inference import infer
from msa_core.interfaces import Model
from msa_core.precision import dtype_of


def predict(run: str | Path | Model, features: str | Path) -> pd.DataFrame:
    """The sentiment of each sample of a feature file, by a trained model.

    The file that the model was trained on is not needed: a run keeps the statistics by which frames are standardised
    (one of format 1 takes them from its file), and the name of its text encoder, whose tokenizer reads the text. A CUDA
    GPU is used if there is one and the run's settings allow it.

    Args:
        run: a finished run's folder, `<runs>/<dataset>/<variant>/seed-<seed>`; or a folder that
            `save_pretrained` has written; or the model itself, of `HubModel.from_pretrained`.
        features: a pickle as `msa_core.data.load_features` takes it, with or without labels, which are not read; with
            all splits, some of them, or none (one dict of fields). `msa_core.write_features` writes one.

    Returns:
        A row a sample, in the order of the file, but train before valid before test:

        - "id"; "split", unless the file has none;
        - "sentiment", on the scale of the labels that the model was trained on;
        - "<modality>_sentiment", of each modality on its own, if the run has unimodal labels; NaN for a sample that
          lacks the modality;
        - "<modality>_distance", its distance from the whole: the absolute difference of these two;
        - "<modality>_present", whether the sample has the modality. The model puts one vector in the place of what a
          sample lacks; it is trained only if training samples lacked the modality.

    Raises:
        FileNotFoundError: there is no finished run, or no feature file.
        OSError: the text encoder cannot be fetched, or the disk for temporary files is full.
        ValueError: the run's folder is damaged; anything wrong with the file; it has other modalities than the run, or
            frames of another width.

    Example::

        table = msa_core.predict("results/runs/planted/paper/seed-1111", "features.pkl")
        table.nlargest(10, "audio_distance")  # where the voice says something else than the whole
    """
    path = Path(features).expanduser()
    if not isinstance(run, Model):
        pretrained.require_model(Path(run).expanduser())
    require_file(path)
    model = run if isinstance(run, Model) else pretrained.trained(Path(run).expanduser())
    if model.origin is None:
        raise ValueError(
            "predict: got a model that is of no finished run, expected a run's folder, or a model of "
            "HubModel.from_pretrained; name the folder"
        )
    config = model.origin.config
    data = _read(model.origin, path)
    model.to("cuda" if torch.cuda.is_available() and config.training.device != "cpu" else "cpu")
    return pd.concat([_frame(model, part) for part in data.values()], ignore_index=True)


def export_labels(run: str | Path, output: str | Path | None = None) -> pd.DataFrame:
    """The labels that a finished run generated for its train split, to be read or used elsewhere.

    Args:
        run: its folder.
        output: a CSV file to write besides; None: none is written.

    Returns:
        A row for each epoch and sample: "id", "epoch" (0: the start), "multimodal" (the human label) and a column for
        each modality, on the labels' scale.

    Raises:
        FileExistsError: `output` is there.
        FileNotFoundError: there is no finished run.
        ValueError: the run is damaged, or generated no labels.
    """
    folder = Path(run).expanduser()
    labels = records.read_run(folder).labels
    if labels.empty:
        raise ValueError(
            f"{folder}: got a run without generated labels (variant {records.read_config(folder).variant!r}), expected "
            "one with them; name a run of another variant, such as 'paper'"
        )
    if output is not None:
        write_csv(labels, output)
    return labels


def write_csv(table: pd.DataFrame, output: str | Path) -> None:
    """Write a table, unrounded; the file appears whole or not at all.

    Raises:
        FileExistsError: there is such a file; it is not overwritten.
        OSError: it cannot be written.
    """
    with created(Path(output).expanduser()) as partial:
        table.to_csv(partial, index=False)


def _read(origin: pretrained.Origin, path: Path) -> dict[str, FeatureSet]:
    """The file as the run's own data were read, but that a longer text is cut to what the encoder has positions for."""
    config, settings = origin.config, origin.config.dataset
    tokenizer = load_tokenizer(config.text.encoder)
    data = load_unlabelled(
        path,
        tokenizer,
        origin.tensors,
        standardise=settings.standardise and settings.features is not None,
        max_frames=settings.max_frames,
        max_tokens=int(min(settings.max_tokens, most_tokens(config.text.encoder, tokenizer))),
    )
    expected, got = origin.modalities, next(iter(data.values())).modalities
    if set(expected) - set(got) or (settings.modalities is None and set(got) - set(expected)):
        raise ValueError(
            f"{path}: got {list(got)}, expected {expected}, which the model was trained on; leave out the fields "
            "of the others, and give samples that lack a modality frames of length 0"
        )
    if config.text.frozen:
        data = freeze_text(data, config.text.encoder, every_token=config.model.reads_every_token)
    dtype = dtype_of(config.training.precision)
    return {split: features.only(expected).to(dtype) for split, features in data.items()}


def _frame(model: Model, features: FeatureSet) -> pd.DataFrame:
    # float64 text is read back as the same number, float32 text is not.
    predictions = {
        task: values.astype(np.float64) for task, values in infer(model, features, "predictions")["predictions"].items()
    }
    table = pd.DataFrame({"id": features.ids})
    if features.split:
        table["split"] = features.split
    table["sentiment"] = predictions["multimodal"]
    present = {
        modality: features.present[modality].numpy() if modality in features.present else True
        for modality in features.modalities
    }
    own = [modality for modality in features.modalities if modality in predictions]
    for modality in own:
        table[f"{modality}_sentiment"] = np.where(present[modality], predictions[modality], np.nan)
    for modality in own:
        table[f"{modality}_distance"] = (table["sentiment"] - table[f"{modality}_sentiment"]).abs()
    return table.assign(**{f"{modality}_present": mask for modality, mask in present.items()})
