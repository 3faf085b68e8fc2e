"""The one place that builds: a run's data and its trained parts, from settings told apart by their `kind`.

A new part is a class, its settings (`msa_core.config`), and its case here.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from msa_core.alignment import AlignmentLoss, covariance_distance
from msa_core.config import RunConfig
from msa_core.config import distances as chosen
from msa_core.config import model as models
from msa_core.config import objective as objectives
from msa_core.data import FeatureSet, draw_seed, load_features, planted_features, require_file
from msa_core.data.impaired import impaired
from msa_core.data.resplit import resplit
from msa_core.data.tokens import refuse_long_text
from msa_core.encoders import FrameEncoder, FrozenText, TextEncoder, load_text_encoder, load_tokenizer, most_tokens
from msa_core.frozen import freeze_text
from msa_core.fusion import Concatenation
from msa_core.hosts.alternating import Alternating
from msa_core.hosts.mag_bert import MAGBert
from msa_core.hosts.misa import MISA
from msa_core.hosts.mmim import MMIM
from msa_core.hosts.mult import MulT
from msa_core.interfaces import Distance, LabelSource, Model, Parts
from msa_core.labels import FixedLabels, UnimodalLabelGenerator
from msa_core.model import Head, MSAModel, Projection
from msa_core.objective import Balance, MultiTaskLoss
from msa_core.parts import controls, distances, fusions
from msa_core.parts.balance import PCGrad, UncertaintyWeights
from msa_core.parts.contrast import label_contrast
from msa_core.parts.damped import DampedLabels
from msa_core.parts.ensembles import EnsembleLabels
from msa_core.parts.low_rank import LowRankFusion
from msa_core.parts.neighbours import NearestNeighbourLabels
from msa_core.parts.residual import ResidualLabels
from msa_core.paths import feature_files
from msa_core.precision import default_dtype, dtype_of
from msa_core.requirements import features_caches


def dataset(config: RunConfig, statistics: Mapping[str, Tensor] | None = None) -> dict[str, FeatureSet]:
    """The three splits: text in the tokens of the run's encoder, or in its states if that is frozen; some modalities
    alone where `dataset.modalities` says so, dealt anew where `dataset.resplit` does, with noise where `dataset.noise`
    does, some samples without a modality where `dataset.missing` or `dataset.patterns` does, some of the train split
    without a label where `dataset.unlabelled` does.

    Args:
        config: the run's settings.
        statistics: those of a run that is trained, by which the frames are read; None: the file's own.

    Raises:
        FileNotFoundError: no such feature file.
        ValueError: see `load_features` and `planted_features`; a text that is longer than the encoder can read.
    """
    settings = config.dataset
    paths = [] if settings.features is None else feature_files(settings.features)
    for path in paths:
        require_file(path)  # before a tokenizer is fetched for it
    tokenizer = load_tokenizer(config.text.encoder)
    if not paths:
        planted = settings.planted.model_dump()
        planted["seed"] = draw_seed(config.seed) if planted["seed"] is None else planted["seed"]
        data = planted_features(**planted, max_tokens=settings.max_tokens, tokenizer=tokenizer)
        cache = None
    else:
        cache = features_caches(config)[0]
        data = load_features(
            paths,
            tokenizer=tokenizer,
            label_bound=settings.label_bound,
            standardise=settings.standardise,
            max_frames=settings.max_frames,
            max_tokens=settings.max_tokens,
            cache_folder=None if settings.cache_folder is None else cache.parent,
            statistics=statistics,
        )
    refuse_long_text(data, config.text.encoder, settings.max_tokens, most_tokens(config.text.encoder, tokenizer))
    if config.text.frozen:
        data = freeze_text(data, config.text.encoder, cache, config.model.reads_every_token)
    if settings.modalities is not None:
        data = {split: features.only(settings.modalities) for split, features in data.items()}
    if settings.resplit:
        data = resplit(data, config.seed, statistics)
    data = impaired(data, settings, config.seed)
    if settings.unlabelled.share:
        data["train"] = data["train"].hiding_labels(**settings.unlabelled.model_dump(), seed=config.seed)
    return {split: features.to(dtype_of(config.training.precision)) for split, features in data.items()}


def parts(config: RunConfig, train: FeatureSet) -> Parts:
    """Model, objective and label source of one run; random weights come from torch's seed.

    Args:
        config: the run's settings.
        train: the split that is trained on: says which modalities there are, how wide their frames are, and which
            tokens' embeddings are trained.
    """
    made = model(config, train)
    with default_dtype(dtype_of(config.training.precision)):
        objective = MultiTaskLoss(
            alignment(config, made.encoding_widths),
            config.objective.weight_adjustment,
            balance(config.objective.balance, made.tasks),
            unlabelled=bool(train.given),
            contrast=contrast(config.objective.contrast),
        )
        return Parts(made, objective, labels(config, train, made))


def model(config: RunConfig, train: FeatureSet) -> Model:
    """The model alone; its weights are drawn, or converted where they are pretrained, in the run's precision."""
    dtype = dtype_of(config.training.precision)
    with default_dtype(dtype):
        return _model(config, train).to(dtype)


def _model(config: RunConfig, train: FeatureSet) -> Model:
    match config.model:
        case models.SharedEncodersConfig() as settings:
            encoders = {modality: encoder(config, settings, modality, train) for modality in train.modalities}
            widths = {modality: part.width for modality, part in encoders.items()}
            joined, own = fusion(settings.fusion, widths), projections(config, widths, settings.unimodal)
            bound = config.dataset.label_bound if settings.bounded else None
            heads = {task: Head(part.width, bound) for task, part in {"multimodal": joined, **own}.items()}
            return MSAModel(encoders, joined, own, heads)
        case models.MulTConfig() as settings:
            return host(MulT, config, train, settings.width * (len(train.modalities) - 1))
        case models.MISAConfig() as settings:
            return host(MISA, config, train, settings.width)
        case models.MMIMConfig() as settings:
            return host(MMIM, config, train, settings.frames.width, text_as_encoded=True)
        case models.AlternatingConfig() as settings:
            return host(Alternating, config, train, settings.frames.width, text_as_encoded=True)
        case models.MAGBertConfig() as settings:
            return host(MAGBert, config, train, settings.frames.width, text_as_encoded=True)


def host(model_class: Any, config: RunConfig, train: FeatureSet, width: int, text_as_encoded: bool = False) -> Model:
    """A model of `msa_core.hosts`, with the unimodal tasks of the run.

    Args:
        model_class: which.
        config: the run's settings.
        train: the split that is trained on.
        width: of each modality's encoding.
        text_as_encoded: that of the text is as wide as its encoder's.
    """
    settings: Any = config.model
    text = text_encoder(config, train) if "text" in train.modalities else None
    widths = dict.fromkeys(train.modalities, width)
    if text is not None and text_as_encoded:
        widths["text"] = text.width
    own = projections(config, widths, settings.unimodal)
    heads = {modality: Head(part.width) for modality, part in own.items()}
    return model_class(text, frame_widths(train), settings, own, heads)


def frame_widths(train: FeatureSet) -> dict[str, int]:
    """Width of a frame of "audio" and "vision", as far as the data have them."""
    return {name: train.sequences[name].entry_shape[0] for name in train.modalities if name != "text"}


def encoder(
    config: RunConfig, settings: models.SharedEncodersConfig, modality: str, train: FeatureSet
) -> TextEncoder | FrozenText | FrameEncoder:
    """One modality's encoder of the paper's model.

    Raises:
        ValueError: an LSTM over the text's states, and the text is not frozen.
    """
    own = getattr(settings, modality)
    if modality == "text":
        if own is None:
            return text_encoder(config, train, settings.frozen_extractors)
        if not config.text.frozen:
            raise ValueError(
                "model.text: got an LSTM and a text encoder that is fine-tuned, expected frozen text, whose states "
                "the LSTM reads; set text.frozen true, or model.text null"
            )
    width = train.sequences[modality].entry_shape[0]
    return FrameEncoder(width, own.hidden, own.width, own.dropout, settings.frozen_extractors)


def text_encoder(config: RunConfig, train: FeatureSet, frozen: bool = False) -> TextEncoder | FrozenText:
    """The text encoder that every model shares."""
    text = train.sequences["text"]
    if config.text.frozen:
        return FrozenText(text.entry_shape[0])
    return load_text_encoder(config.text.encoder, text.distinct(), frozen)


def projections(config: RunConfig, widths: Mapping[str, int], settings: models.UnimodalConfig) -> dict[str, Projection]:
    """Each modality's own feature, from its encoding; none where the run has no unimodal labels.

    Args:
        config: the run's settings.
        widths: modality -> width of its encoding.
        settings: width and dropout of each.
    """
    if isinstance(config.objective.labels, objectives.NoUnimodalLabels):
        return {}
    return {
        modality: Projection(width, part.width, part.dropout)
        for modality, width in widths.items()
        for part in [getattr(settings, modality)]
    }


def fusion(settings: models.FusionConfig, widths: Mapping[str, int]) -> Any:
    """From encodings to the multimodal feature.

    Args:
        settings: which fusion, and its settings.
        widths: modality -> width of its encoding.
    """
    match settings:
        case models.ConcatenationConfig():
            return Concatenation(widths, settings.width, settings.dropout)
        case models.LowRankConfig():
            return LowRankFusion(widths, settings.width, settings.rank, settings.dropout, settings.matrices)
        case models.TensorConfig():
            return fusions.TensorFusion(widths, settings.width, settings.reduced, settings.dropout)
        case models.GatedConfig():
            return fusions.GatedFusion(widths, settings.width, settings.dropout)
        case models.AttentionConfig():
            return fusions.AttentionFusion(widths, settings.width, settings.heads, settings.dropout)
        case models.GraphConfig():
            return fusions.GraphFusion(widths, settings.width, settings.dropout)


def alignment(config: RunConfig, widths: Mapping[str, int]) -> AlignmentLoss | None:
    """The alignment loss, or None where no pair is aligned or measured.

    Args:
        config: the run's settings.
        widths: modality -> width of its encoding.

    Raises:
        ValueError: a pair with a modality that the data do not have.
    """
    settings = config.objective.alignment
    if not settings.pairs:
        return None
    if absent := {modality for pair in settings.pairs for modality in pair} - set(widths):
        raise ValueError(
            f"objective.alignment.pairs: got a pair with {sorted(absent)}, "
            f"expected pairs of what the data have: {sorted(widths)}"
        )
    weights = {pair: settings.scale * weight for pair, weight in settings.pairs.items()}
    # Unequal widths take a learned map: without training there is no distance to measure.
    pairs = {(a, b): weight for (a, b), weight in weights.items() if weight or widths[a] == widths[b]}
    trained = {widths[modality] for pair, weight in pairs.items() if weight for modality in pair}
    common_width = settings.width if len(trained) > 1 else None  # a map that is not needed would meet the loss alone
    return AlignmentLoss(pairs, distance(settings.distance), widths, common_width)


def distance(settings: chosen.DistanceConfig) -> Distance:
    """The distance between two modalities' features."""
    match settings:
        case chosen.CovarianceDistance():
            return covariance_distance
        case chosen.CorrelationDistance():
            return distances.correlation_distance
        case chosen.CKADistance():
            return distances.cka_distance
        case chosen.CMDDistance():
            return distances.cmd_distance
        case chosen.MeanAndCovarianceDistance():
            return distances.mean_and_covariance_distance
        case chosen.RelationalDistance():
            return distances.relational_distance
        case chosen.InfoNCEDistance():
            return distances.bounded(partial(distances.info_nce_distance, temperature=settings.temperature))
        case chosen.ShrinkPenalty():
            return controls.shrink_penalty
        case chosen.IsotropicDistance():
            return partial(controls.isotropic_distance, variance=settings.variance)
        case chosen.UnbiasedDistance():
            return controls.unbiased_distance
        case chosen.PermutedDistance():
            return controls.permuted(distance(settings.of))


def labels(config: RunConfig, train: FeatureSet, trained: Model) -> LabelSource:
    """Where the labels of the train split come from.

    Args:
        config: the run's settings.
        train: the split that is trained on.
        trained: the model, for its tasks and the widths of its features.

    Raises:
        ValueError: the data's own unimodal labels are to be used and there are none.
    """
    y = train.labels
    copies = {task: y.where(~y.isnan(), train.given.get(task, y)) for task in trained.tasks}
    match config.objective.labels:
        case objectives.GeneratedLabels() as settings:
            source = UnimodalLabelGenerator(
                len(train),
                trained.feature_widths,
                config.dataset.label_bound,
                settings.exclude_zero,
                settings.centre_distance,
                momentum=settings.momentum,
                first_epoch=settings.first_epoch,
            )
            source.initialise(torch.arange(len(train)), y, train.given or None)
            return DampedLabels(source, settings.share) if isinstance(settings, objectives.DampedLabels) else source
        case objectives.CopiedLabels() | objectives.NoUnimodalLabels():
            return FixedLabels(copies)
        case objectives.TrueLabels():
            if without := set(trained.tasks) - {"multimodal", *train.unimodal_labels}:
                raise ValueError(
                    f"objective.labels: got kind 'true' on {config.dataset.name}, which has no unimodal labels of "
                    f"{sorted(without)}; use another kind, or data with such labels (planted, sims)"
                )
            own = {"multimodal": y, **train.unimodal_labels}
            return FixedLabels({task: own[task].where(~y.isnan(), copies[task]) for task in trained.tasks})
        case objectives.NearestLabels() as settings:
            return NearestNeighbourLabels(copies, trained.feature_widths, settings.neighbours)
        case objectives.EnsembleLabels() as settings:
            return EnsembleLabels(copies, settings.momentum, settings.share)
        case objectives.ResidualLabels() as settings:
            bound = config.dataset.label_bound
            return ResidualLabels(copies, trained.feature_widths, bound, settings.share, settings.penalty)


def balance(settings: objectives.BalanceConfig, tasks: tuple[str, ...]) -> Balance:
    """What becomes of the tasks' terms before they are added."""
    match settings:
        case objectives.SummedTasks():
            return Balance()
        case objectives.UncertaintyWeights():
            return UncertaintyWeights(tasks)
        case objectives.PCGrad():
            return PCGrad()


def contrast(settings: objectives.LabelContrast | None) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Of the multimodal features by their labels, with its weight."""
    if settings is None:
        return None
    return lambda features, y: settings.weight * label_contrast(features, y, settings.temperature)
