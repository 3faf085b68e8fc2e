"""Models that are handed on: huggingface_hub's methods over what a finished run keeps."""

from pathlib import Path
from textwrap import shorten
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from msa_core.interfaces import Model

CONFIG, WEIGHTS = "config.json", "model.safetensors"  # as huggingface_hub names them


class HubModel(Model, PyTorchModelHubMixin, library_name="msa_core"):
    """A model with the methods of huggingface_hub: `save_pretrained`, `push_to_hub`, `from_pretrained`.

    The first two take the model of a finished run (`msa_core.pretrained.trained`), and write model.safetensors,
    config.json (the model's `origin`: settings and frame statistics, no data) and a model card. `from_pretrained`, of
    that folder or of its name on the hub, makes the model again, in evaluation mode, for `msa_core.predict`. A text
    encoder's settings and tokenizer come by the encoder's own name, as in the training.

    Raises:
        FileNotFoundError: there is no such folder, and the hub gives no model of this name.
        ValueError: the model is of no finished run; the folder is damaged, of another version, or of another class.
    """

    def _save_pretrained(self, save_directory: Path) -> None:
        """Called by `save_pretrained`."""
        config = self._known_origin().model_dump_json(indent=2)
        super()._save_pretrained(save_directory)
        (save_directory / CONFIG).write_text(config + "\n")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "HubModel":
        """As the class says; the options are those of huggingface_hub."""
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **options)
        except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            unknown = isinstance(error, HFValidationError)  # no name that the hub could have
            tried = "" if unknown else f", and the hub gives no model of this name ({shorten(str(error), 300)})"
            raise FileNotFoundError(
                f"{pretrained_model_name_or_path}: no such folder{tried}; give one that save_pretrained has written, "
                "or the name of a model on the hub, 'owner/model'"
            ) from None

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "HubModel":
        """Called by `from_pretrained`."""
        from msa_core.pretrained import trained  # what builds a model imports this module

        folder = Path(model_id)
        if not folder.is_dir():
            names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            where = {name: options[name] for name in names}
            folder = Path(snapshot_download(model_id, allow_patterns=[CONFIG, WEIGHTS], **where))
        model = trained(folder)
        if not isinstance(model, cls):
            raise ValueError(
                f"{cls.__name__}.from_pretrained: got a {type(model).__name__} in {model_id}, expected a "
                f"{cls.__name__}; call {type(model).__name__}.from_pretrained"
            )
        return model

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """The card that `save_pretrained` writes, from the records of the run."""
        return ModelCard(self._known_origin().card(type(self).__name__))

    def _known_origin(self) -> Any:
        if self.origin is None:
            raise ValueError(
                f"{type(self).__name__}.save_pretrained: got a model that is of no finished run, expected one of "
                "msa_core.pretrained.trained(folder); train it by a run, or save its state_dict"
            )
        return self.origin
