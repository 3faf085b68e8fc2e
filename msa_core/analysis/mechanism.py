"""What parts two runs of the same settings under two arithmetics, step by step."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def compared(ours: Mapping[str, NDArray], theirs: Mapping[str, NDArray], groups: tuple[str, ...]) -> pd.DataFrame:
    """How far two runs are apart at each step, and how many signs differ.

    Args:
        ours, theirs: "loss", (S,), of each of S steps; "weights", (K, P), after the steps "weights_steps", (K,); and
            "signs/<kind>", (S, ...), bool, of what has a kink at zero. Ours also "group_ends", (G,): where in P each
            group of weights ends.
        groups: the groups' names, (G,).

    Returns:
        A row per step: step (from 1); difference, of the loss, relative to theirs; signs_<kind>, the number of signs
        that differ; weights_<group>, the Euclidean distance of the group's weights, relative to the norm of theirs
        (NaN at steps without weights).
    """
    frame = pd.DataFrame({"step": np.arange(1, len(ours["loss"]) + 1, dtype=np.int32)})
    frame["difference"] = np.abs(ours["loss"] - theirs["loss"]) / np.abs(theirs["loss"])
    for kind in (name for name in ours if name.startswith("signs/")):
        differ = ours[kind] != theirs[kind]
        frame[kind.replace("/", "_")] = differ.reshape(len(frame), -1).sum(axis=1).astype(np.int32)
    ends = ours["group_ends"].tolist()
    reference = theirs["weights"].astype(np.float64)
    gaps = ours["weights"] - reference
    for group, first, end in zip(groups, [0, *ends], ends, strict=False):
        norms = (np.linalg.norm(values[:, first:end], axis=1) for values in (gaps, reference))
        distance, size = norms
        relative = pd.Series(distance / np.where(size > 0, size, 1), index=ours["weights_steps"])
        frame[f"weights_{group}"] = frame["step"].map(relative).astype(np.float32)
    return frame
