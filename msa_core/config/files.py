"""Settings files: YAML that is read strictly, and what is declared in it."""

from pathlib import Path
from typing import Any

import yaml

from msa_core import paths
from msa_core.config.base import require_known, shown


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a key that stands twice in one mapping; YAML's own rule, which PyYAML does not hold."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Called for every mapping."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"got the key {shown(key.value)} twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping with text as keys; an empty file is an empty one.

    Raises:
        ValueError: it is not YAML, not a mapping, or has a key twice; names file and line.
    """
    name = path.relative_to(paths.CONFIG.parent) if path.is_relative_to(paths.CONFIG.parent) else path
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: got no valid YAML in UTF-8 ({error}); save it as UTF-8 text") from None
    return read_yaml(text, name)


def read_yaml(text: str, name: object) -> dict[str, Any]:
    """The mapping that a text holds, as `load_yaml` reads it; `name` is the text's, for the messages.

    Raises:
        ValueError: as there.
    """
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{name}{line}: got no valid YAML ({error.problem}); correct it there") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name}: got no valid YAML ({reason}); save it as plain text") from None
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"{name}: got {shown(content)}, expected a mapping whose keys are text, 'key: value'")
    return content


def load_preset(dataset: str) -> list[dict[str, Any]]:
    """The settings of `config/datasets/<dataset>.yaml`, behind those of the preset that it is `like`, if it is.

    An installed package reads this folder in the current folder, then its own presets.

    Raises:
        ValueError: there is no such file, it cannot be read, or it is like itself, by way of others or not.
    """
    folders, where = [paths.CONFIG / "datasets"], "config/datasets"
    if paths.INSTALLED:
        folders.append(paths.from_root(where))
        where = f"the package's presets and {folders[1]}"
    presets = {path.stem: path for folder in folders for path in folder.glob("*.yaml")}
    require_known("dataset", dataset, presets, where)
    layers = [load_yaml(presets.pop(dataset))]
    while "like" in layers[0]:
        base = layers[0].pop("like")
        require_known(f"like of {dataset}:", base, presets, f"the other files of {where}")
        layers.insert(0, load_yaml(presets.pop(base)))
        dataset = base
    return layers


def load_variants() -> dict[str, dict[str, Any]]:
    """Variant -> its changes over the data set's preset, by dotted name (config/variants.yaml).

    Raises:
        ValueError: the file cannot be read, or a variant is not a mapping.
    """
    variants = {
        name: {} if changes is None else changes for name, changes in load_yaml(paths.CONFIG / "variants.yaml").items()
    }
    for name, changes in variants.items():
        if not isinstance(changes, dict):
            raise ValueError(
                f"config/variants.yaml, {name}: got {shown(changes)}, expected a mapping of dotted names to values"
            )
    return variants
