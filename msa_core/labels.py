"""Self-supervised generation of unimodal labels: the private-information part (after Self-MM, arXiv 2102.04830)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from msa_core.interfaces import Gather, LabelSource, Nothing, check_size, is_finite, own_batch

EPS = 1e-8  # guards both divisions, as in the Self-MM release


class FixedLabels(LabelSource):
    """Labels that training does not change: copies of y, or the data's own unimodal labels.

    Args:
        labels: task -> (N,), NaN where there is none; "multimodal" is required.

    >>> labels = FixedLabels({"multimodal": torch.tensor([1.0, -1.0])})
    >>> labels.labels("multimodal", torch.tensor([1]))
    tensor([-1.])
    """

    def __init__(self, labels: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.tasks = tuple(labels)
        for task, values in labels.items():
            self.register_buffer(f"{task}_labels", values)

    def labels(self, task: str, index: Tensor) -> Tensor:
        """See `LabelSource.labels`."""
        return self.get_buffer(f"{task}_labels")[index]


class UnimodalLabelGenerator(LabelSource):
    """Keeps, for every training sample, its latest features and a generated label per modality.

    With d_pos and d_neg a feature's distances to the mean feature of the samples labelled above and below zero,
    ``a = (d_neg - d_pos) / (d_pos + eps)``; a modality's new label is
    ``y_s' = y * a_s / (2 a_m) + (y + a_s - a_m) / 2`` clamped to [-H, H], and from epoch i = 2 on
    ``y_s(i) = (i-1)/(i+1) * y_s(i-1) + 2/(i+1) * y_s'`` (Self-MM, section 3.3; the constants of its release; see
    `momentum` and `first_epoch` for others).

    The release recomputes every centre over all N samples at each step. Here the centres are running sums (in
    float64, so that they do not drift), which give the same numbers at a cost per step of O(B), whatever N is.
    As in the release, features not stored yet count as zeros; no label is generated before epoch 2, by which time
    a loop that shows every sample in every epoch has stored them all. A sample that lacks a modality keeps that
    modality's label, and is left out of that modality's centres.

    A sample without y has no label before `first_epoch`, and then those that the formulas give with the model's own
    multimodal prediction in the place of y, as start and in the target: what the model would call the shared label, as
    nothing else is known of it. It is in no multimodal class centre, and in a modality's from its first label there
    on. A unimodal label that such a sample was given is human, and stays.

    All state is buffers, so a checkpoint carries it. A cast of the module makes labels and features no narrower than
    float32 and leaves the sums in float64.

    An index on the CPU is checked. One on a GPU is trusted, as a look at it would wait for the GPU: a sample twice in
    one batch goes unnoticed then, and a sample number out of range ends the program with CUDA's own error.

    Args:
        num_samples: N, the number of training samples.
        feature_dims: width of the features of "multimodal" (required) and of each modality.
        label_bound: H, the largest absolute label (3 for MOSI and MOSEI, 1 for CH-SIMS).
        exclude_zero: True: a sample labelled 0 is in neither class (MMSA); False: it is positive (Self-MM release).
        distance: "l2", the Euclidean distance (the release), or "squared", its square over sqrt(D) (the Self-MM paper).
        gather: makes the whole batch of one process's part of it.
        momentum: share of the old label in each new one, within [0, 1); None: (i-1)/(i+1) in epoch i.
        first_epoch: the one from which labels move, 2 or later: before it, features are stored alone.

    Raises:
        ValueError: no "multimodal" among the features, an unknown distance, a bound not positive and finite, a number
            of samples or a width not a positive integer, a momentum outside [0, 1), a first epoch before 2.

    >>> labels = UnimodalLabelGenerator(2, {"multimodal": 1, "text": 1}, label_bound=3)
    >>> index = torch.tensor([0, 1])
    >>> labels.initialise(index, torch.tensor([1.0, -1.0]))
    >>> features = {"multimodal": torch.tensor([[2.0], [-2.0]]), "text": torch.tensor([[2.0], [-2.0]])}
    >>> labels.update(features, index, epoch=1)  # epoch 1 stores features only
    >>> labels.labels("text", index)
    tensor([ 1., -1.])
    >>> features = {"multimodal": torch.tensor([[1.0], [-1.0]]), "text": torch.tensor([[0.0], [1.0]])}
    >>> labels.update(features, index, epoch=2)  # text: the first has become neutral, the second positive
    >>> [round(label, 4) for label in labels.labels("text", index).tolist()]
    [0.0, 1.2222]
    """

    fixed = False

    def __init__(
        self,
        num_samples: int,
        feature_dims: Mapping[str, int],
        label_bound: float,
        exclude_zero: bool = True,
        distance: str = "l2",
        gather: Gather = own_batch,
        momentum: float | None = None,
        first_epoch: int = 2,
    ) -> None:
        super().__init__()
        if not isinstance(feature_dims, Mapping) or "multimodal" not in feature_dims:
            raise ValueError(
                f"UnimodalLabelGenerator: got feature_dims {feature_dims}, expected a width for each task, "
                "'multimodal' among them"
            )
        if distance not in ("l2", "squared"):
            raise ValueError(f"UnimodalLabelGenerator: got distance {distance!r}, expected 'l2' or 'squared'")
        if not (is_finite(label_bound) and label_bound > 0):
            raise ValueError(f"UnimodalLabelGenerator: got label_bound {label_bound}, expected a positive number")
        if momentum is not None and not (is_finite(momentum) and 0 <= momentum < 1):
            raise ValueError(f"UnimodalLabelGenerator: got momentum {momentum}, expected None or one within [0, 1)")
        if isinstance(first_epoch, bool) or not isinstance(first_epoch, int) or first_epoch < 2:
            raise ValueError(
                f"UnimodalLabelGenerator: got first_epoch {first_epoch}, expected an integer, 2 or more: features are "
                "there from the second epoch on"
            )
        check_size("UnimodalLabelGenerator", "num_samples", num_samples, most=100_000_000)
        for task, width in feature_dims.items():
            check_size("UnimodalLabelGenerator", f"the width of {task!r}:", width)
        self.num_samples, self.label_bound, self.momentum = num_samples, label_bound, momentum
        self.exclude_zero, self.distance, self.gather, self.first_epoch = exclude_zero, distance, gather, first_epoch
        self.tasks = tuple(feature_dims)
        self.modalities = tuple(task for task in self.tasks if task != "multimodal")
        for task, width in feature_dims.items():
            self.register_buffer(f"{task}_labels", torch.full((num_samples,), torch.nan))  # until `initialise`
            self.register_buffer(f"{task}_features", torch.zeros(num_samples, width))
            self.register_buffer(f"{task}_present", torch.ones(num_samples, dtype=torch.bool))
            self.register_buffer(f"{task}_missing", torch.zeros(num_samples, dtype=torch.bool))  # for want of y
            # Row 0: samples labelled positive, row 1: negative.
            self.register_buffer(f"{task}_sums", torch.zeros(2, width, dtype=torch.float64))
            self.register_buffer(f"{task}_counts", torch.zeros(2, dtype=torch.float64))
        self._some_unset = True  # samples, of which `initialise` has not seen
        self.register_load_state_dict_post_hook(UnimodalLabelGenerator._look_for_unset)

    def initialise(self, index: Tensor, labels: Tensor, given: Mapping[str, Tensor] | None = None) -> None:
        """Set every task's label of the samples `index` to the human label: `y_s = y`.

        Args:
            index: sample numbers within 0..N-1, (n,), none twice.
            labels: human multimodal labels within [-H, H], (n,).
            given: allows a label y that is NaN, missing; modality -> (n,), the human unimodal labels of such samples,
                NaN where there is none. Those of other samples are not read.

        Raises:
            ValueError: a repeated or unknown index, a label outside the bound or not finite.
        """
        index = self._checked(index)
        if labels.shape != index.shape:
            raise ValueError(
                f"UnimodalLabelGenerator.initialise: got labels of shape {tuple(labels.shape)}, expected "
                f"{tuple(index.shape)}, one for each sample"
            )
        unlabelled = labels.isnan() & (given is not None)
        starts = {task: torch.where(unlabelled, (given or {}).get(task, labels), labels) for task in self.tasks}
        for start in starts.values():
            outside = ~(start.abs() <= self.label_bound) & ~(start.isnan() & unlabelled)  # also true of other nan
            if bool(outside.any()):
                raise ValueError(
                    f"UnimodalLabelGenerator.initialise: got label {start[outside][0].item()} for sample "
                    f"{index[outside][0].item()}, expected a finite one within ±{self.label_bound}"
                )
        for task, start in ((task, start.to(index.device)) for task, start in starts.items()):
            self._stored(task, "missing")[index] = start.isnan()
            present = self._stored(task, "present")[index]
            self._move(task, index, self._stored(task, "features")[index], start, present)
        self._look_for_unset()

    def labels(self, task: str, index: Tensor) -> Tensor:
        """Labels of the samples `index` as they stand: "multimodal" gives the human ones.

        Args:
            task: "multimodal" or a modality.
            index: sample numbers, (B,).

        Returns:
            (B,), within [-H, H]; NaN for a sample without y that has none yet.

        Raises:
            ValueError: unknown task, unknown index, or a sample that `initialise` has not seen.
        """
        stored = self._stored(task, "labels")
        index = self._checked(index, once=False)
        labels = stored[index]
        if self._some_unset and bool((unset := labels.isnan() & ~self._stored(task, "missing")[index]).any()):
            raise ValueError(
                f"UnimodalLabelGenerator: sample {index[unset][0].item()} has no label yet; call "
                "initialise with the human labels of all samples first"
            )
        return labels

    @torch.no_grad()
    def update(
        self,
        features: Mapping[str, Tensor],
        index: Tensor,
        epoch: int,
        present: Mapping[str, Tensor] = Nothing,
        predictions: Mapping[str, Tensor] = Nothing,
    ) -> None:
        """One step, in the order of the release: labels (with the centres as they stand), features, centres.

        Where a class that a distance needs is empty, that modality's labels stay as they are.

        Args:
            features: "multimodal" and each modality -> (B, D), all that the generator was built with.
            index: sample numbers within 0..N-1, (B,), none twice.
            epoch: counted from 1; labels move from `first_epoch` on.
            present: modality -> (B,) bool; a modality left out is there in every sample.
            predictions: "multimodal" -> (B,); needed where a sample has no y.

        Raises:
            ValueError: a repeated or unknown index, a sample without a label, a missing task, a wrong shape, an
                epoch below 1, a sample without y and no prediction of it.
        """
        features = {task: self.gather(feature) for task, feature in features.items()}
        index = self._checked(self.gather(index))
        everyone = torch.ones(len(index), dtype=torch.bool, device=index.device)
        rows = {task: self.gather(present[task]) if task in present else everyone for task in self.tasks}
        check_update(
            "UnimodalLabelGenerator.update",
            features,
            {task: (len(index), self._stored(task, "features").shape[1]) for task in self.tasks},
            epoch,
        )
        new_labels = {task: self.labels(task, index) for task in self.tasks}
        if epoch >= self.first_epoch:
            y = with_predictions(new_labels["multimodal"], predictions, self.gather, self.label_bound)
            a_m, classes_m = self._relative_distance("multimodal", features["multimodal"])
            a_m_guarded = torch.where(a_m.abs() < EPS, torch.where(a_m < 0, -EPS, EPS), a_m)
            for modality in self.modalities:
                a_s, classes_s = self._relative_distance(modality, features[modality])
                target = y * a_s / (2 * a_m_guarded) + (y + a_s - a_m) / 2
                target = target.clamp(-self.label_bound, self.label_bound)
                old = new_labels[modality]
                moved = running_average(torch.where(old.isnan(), y, old), target, epoch, self.momentum)
                human = self._stored("multimodal", "missing")[index] & ~self._stored(modality, "missing")[index]
                moves = rows[modality] & classes_m & classes_s & ~human
                new_labels[modality] = torch.where(moves, moved, old)
        for task in self.tasks:
            self._move(task, index, features[task], new_labels[task], rows[task])

    def _relative_distance(self, task: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """`a` of each sample, (B,), and whether both classes have members, a scalar."""
        counts, dtype = self._stored(task, "counts"), self._stored(task, "features").dtype
        centres = (self._stored(task, "sums") / counts.clamp(min=1)[:, None]).to(dtype)  # (2, D)
        distances = torch.linalg.vector_norm(x.to(dtype)[:, None] - centres, dim=-1)  # (B, 2)
        if self.distance == "squared":
            distances = distances.square() / x.shape[1] ** 0.5
        d_pos, d_neg = distances.unbind(dim=1)
        return (d_neg - d_pos) / (d_pos + EPS), (counts > 0).all()

    def _move(self, task: str, index: Tensor, features: Tensor, labels: Tensor, present: Tensor) -> None:
        """Store features and labels of some samples, and move their share of the class sums along."""
        stored = {what: self._stored(task, what) for what in ("features", "labels", "present")}
        new = {"features": features, "labels": labels, "present": present}
        new = {what: values.to(stored[what].dtype) for what, values in new.items()}
        for sign, of in ((-1, {what: values[index] for what, values in stored.items()}), (1, new)):
            y = of["labels"]
            member = torch.stack([y > 0 if self.exclude_zero else y >= 0, y < 0]) & of["present"]  # (2, B)
            self._stored(task, "sums").add_(member.double() @ of["features"].double(), alpha=sign)
            self._stored(task, "counts").add_(member.double().sum(dim=1), alpha=sign)
        for what, values in new.items():
            stored[what][index] = values

    def _apply(self, fn: Any, recurse: bool = True) -> "UnimodalLabelGenerator":
        """What `.to`, `.double`, `.bfloat16` and others call: a cast never narrows the state."""

        def moved(buffer: Tensor) -> Tensor:
            cast = fn(buffer)
            return cast if cast.itemsize >= buffer.itemsize else buffer.to(cast.device)

        return super()._apply(moved, recurse)

    def _stored(self, task: str, what: str) -> Tensor:
        if task not in self.tasks:
            raise ValueError(f"UnimodalLabelGenerator: got task {task!r}, expected one of {list(self.tasks)}")
        return self.get_buffer(f"{task}_{what}")

    def _look_for_unset(self, *_: Any) -> None:
        """Once no sample lacks its start, none will: then `labels` need not look, and wait for a GPU, at each step."""
        unset = [self._stored(task, "labels").isnan() & ~self._stored(task, "missing") for task in self.tasks]
        self._some_unset = bool(torch.stack(unset).any())

    def _checked(self, index: Tensor, once: bool = True) -> Tensor:
        """The index on the labels' device; `once`: no sample may be in it twice."""
        got = "UnimodalLabelGenerator: got"
        if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
            raise ValueError(
                f"{got} an index of shape {tuple(index.shape)} and {index.dtype}, expected sample numbers (B,)"
            )
        if index.is_cuda or not index.numel():
            return index
        if not (int(index.min()) >= 0 and int(index.max()) < self.num_samples):
            raise ValueError(
                f"{got} sample numbers {int(index.min())}..{int(index.max())}, expected 0..{self.num_samples - 1}"
            )
        if once and len(index.unique()) != len(index):
            raise ValueError(f"{got} sample {int(index.mode().values)} twice in one batch, expected each at most once")
        return index.to(self._stored("multimodal", "labels").device)


def running_average(label: Tensor, target: Tensor, epoch: int, momentum: float | None = None) -> Tensor:
    """``(i-1)/(i+1) * y_s(i-1) + 2/(i+1) * y_s'``, the label after epoch i (Self-MM, section 3.3).

    With a momentum m, ``m * y_s(i-1) + (1-m) * y_s'`` in every epoch.
    """
    if momentum is not None:
        return momentum * label + (1 - momentum) * target
    return (epoch - 1) / (epoch + 1) * label + 2 / (epoch + 1) * target


def with_predictions(
    y: Tensor, predictions: Mapping[str, Tensor], gather: Gather = own_batch, label_bound: float = torch.inf
) -> Tensor:
    """y, and where a sample has none (NaN) the model's own multimodal prediction in its place.

    Args:
        y: human labels of the whole batch, (B,).
        predictions: "multimodal" -> (B,) of this process's part of it.
        gather: makes the whole batch.
        label_bound: H, to which a prediction is clamped.

    Raises:
        ValueError: a sample without y, and no multimodal prediction.
    """
    missing = y.isnan()
    if "multimodal" not in predictions:
        if not bool(missing.any()):
            return y
        raise ValueError(
            f"LabelSource.update: got {int(missing.sum())} samples without a multimodal label and predictions of "
            f"{sorted(predictions)}, expected one of 'multimodal' too: it stands in for that label"
        )
    predicted = gather(predictions["multimodal"]).to(y.dtype).clamp(-label_bound, label_bound)
    return torch.where(missing, predicted, y)


def check_update(
    caller: str, features: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, int]], epoch: int
) -> None:
    """Raise a `ValueError` that names the first task whose features are missing or of another shape, or the epoch."""
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 1:
        raise ValueError(f"{caller}: got epoch {epoch}, expected an integer, 1 or more")
    for task, shape in shapes.items():
        actual = tuple(features[task].shape) if task in features else None
        if actual != shape:
            raise ValueError(f"{caller}: got {actual} for features of {task!r}, expected {shape}")
