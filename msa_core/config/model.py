"""Settings of the models and of the fusions; each class is one part that `msa_core.build` builds."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from msa_core.config.base import MMSA, Number, Settings, Width


class Heads(Settings):
    """Attention whose heads share its width."""

    width: Width
    heads: int = Field(ge=1, le=256)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "Heads":
        if self.width % self.heads:
            raise ValueError(
                f"got width {self.width} with {self.heads} heads, expected a width that is a multiple of heads"
            )
        return self


class FrameEncoderConfig(Settings):
    """An LSTM encoder."""

    hidden: Width = Field(32, description=f"width of the LSTM ({MMSA}: audio 16, vision 32)")
    width: Width = Field(32, description="width of the encoding; one for both, so that they can be aligned")
    dropout: Number = Field(0.0, ge=0, lt=1, description=f"before the linear layer ({MMSA})")


class ProjectionConfig(Settings):
    """A feature made from encodings."""

    width: Width = Field(description=f"width of the feature ({MMSA}: post_*_dim)")
    dropout: Number = Field(0.0, ge=0, lt=1, description=f"before the linear layer ({MMSA}: post_*_dropout)")


class UnimodalConfig(Settings):
    """Each modality's own feature."""

    text: ProjectionConfig = ProjectionConfig(width=32, dropout=0.1)
    audio: ProjectionConfig = ProjectionConfig(width=16, dropout=0.1)
    vision: ProjectionConfig = ProjectionConfig(width=32)


# --- fusions --------------------------------------------------------------------------------------------------------


class ConcatenationConfig(ProjectionConfig):
    """The paper's fusion, `msa_core.fusion.Concatenation`."""

    kind: Literal["concatenation"] = "concatenation"
    width: Width = Field(128, description=f"width of the multimodal feature ({MMSA}: post_fusion_dim)")


class LowRankConfig(ProjectionConfig):
    """`msa_core.parts.low_rank.LowRankFusion` (LMF)."""

    kind: Literal["low_rank"] = "low_rank"
    width: Width = Field(128, description="width of the multimodal feature, as in the paper's fusion")
    rank: int = Field(4, ge=1, le=256, description="number of terms (the LMF paper tunes it; 4 is among its choices)")
    matrices: bool = Field(
        False, description="initial weights by Glorot's rule on each matrix of a factor; false: on it as a whole"
    )


class TensorConfig(ProjectionConfig):
    """`msa_core.parts.fusions.TensorFusion`; values of thuiar/MMSA 2.2.1, config_regression.json, tfn, for MOSI."""

    kind: Literal["tensor"] = "tensor"
    width: Width = Field(64, description="width of the multimodal feature (post_fusion_dim)")
    dropout: Number = Field(0.5, ge=0, lt=1, description="on the outer product (the last of dropouts)")
    reduced: int = Field(32, ge=1, le=128, description="largest width of a modality in the product (text_out)")


class GatedConfig(ProjectionConfig):
    """`msa_core.parts.fusions.GatedFusion`."""

    kind: Literal["gated"] = "gated"
    width: Width = Field(128, description="width of the multimodal feature, as in the paper's fusion")


class AttentionConfig(ProjectionConfig, Heads):
    """`msa_core.parts.fusions.AttentionFusion`."""

    kind: Literal["attention"] = "attention"
    width: Width = Field(128, description="width of the multimodal feature, as in the paper's fusion")
    heads: int = Field(4, ge=1, le=256, description="attention heads; ours, not chosen on data")


class GraphConfig(ProjectionConfig):
    """`msa_core.parts.fusions.GraphFusion`."""

    kind: Literal["graph"] = "graph"
    width: Width = Field(128, description="width of the multimodal feature and of each vertex")


FusionConfig = Annotated[
    ConcatenationConfig | LowRankConfig | TensorConfig | GatedConfig | AttentionConfig | GraphConfig,
    Field(discriminator="kind"),
]


# --- models ---------------------------------------------------------------------------------------------------------


class SharedEncodersConfig(Settings):
    """The paper's model, `msa_core.model.MSAModel`: hard parameter sharing."""

    kind: Literal["shared_encoders"] = "shared_encoders"
    frozen_extractors: bool = Field(
        False,
        description="the text encoder, without dropout, and the LSTMs stay as they begin; the linear layers behind the "
        "LSTMs, on which the alignment acts, and all that follows are trained (the paper's first experiment)",
    )
    text: FrameEncoderConfig | None = Field(
        None, description="an LSTM over a frozen text's states, as TFN and LMF have; None: its first token's state"
    )
    audio: FrameEncoderConfig = FrameEncoderConfig()
    vision: FrameEncoderConfig = FrameEncoderConfig()
    fusion: FusionConfig = ConcatenationConfig()
    bounded: bool = Field(False, description="predictions stay within the labels' bound, as TFN's do")
    unimodal: UnimodalConfig = UnimodalConfig()

    @property
    def reads_every_token(self) -> bool:
        """Of a frozen text; else its first token's state alone is kept."""
        return self.text is not None


class MulTConfig(Heads):
    """`msa_core.hosts.mult.MulT`; the values are those of thuiar/MMSA 2.2.1, config_regression.json, mult, for MOSI."""

    kind: Literal["mult"] = "mult"
    reads_every_token: ClassVar[bool] = True
    width: Width = Field(50, description="of the cross-modal transformers; a multiple of heads")
    heads: int = Field(10, ge=1, le=256, description="attention heads")
    layers: int = Field(
        4, ge=1, le=256, description="of each cross-modal transformer; those behind them have at least 3"
    )
    kernel: int = Field(5, ge=1, le=256, description="steps that a convolution reads")
    attention_dropout: Number = Field(0.2, ge=0, lt=1, description="MMSA: 0.3 text, 0.2 audio, 0 vision; one here")
    embedding_dropout: Number = Field(0.2, ge=0, lt=1, description="on sequences with their positions")
    text_dropout: Number = Field(0.5, ge=0, lt=1, description="on the text encoder's states")
    output_dropout: Number = Field(0.5, ge=0, lt=1, description="in the residual block")
    unimodal: UnimodalConfig = UnimodalConfig()


class MISAConfig(Heads):
    """`msa_core.hosts.misa.MISA`; the values are those of thuiar/MMSA 2.2.1, config_regression.json, misa, for MOSI."""

    kind: Literal["misa"] = "misa"
    reads_every_token: ClassVar[bool] = True
    width: Width = Field(128, description="of each modality's vector and parts (hidden_size); a multiple of heads")
    heads: int = Field(2, ge=1, le=256, description="of the transformer layer (MISA.py)")
    feed_forward: Width = Field(2048, description="width of the transformer layer's hidden layer (MISA.py)")
    attention_dropout: Number = Field(0.1, ge=0, lt=1, description="in the transformer layer (MISA.py)")
    dropout: Number = Field(0.2, ge=0, lt=1, description="on the multimodal feature")
    similarity: Number = Field(0.3, ge=0, description="weight of the shared parts' discrepancy (sim_weight)")
    difference: Number = Field(0.1, ge=0, description="weight of the parts' likeness (diff_weight)")
    reconstruction: Number = Field(1.0, ge=0, description="weight of the decoders' error (recon_weight)")
    unimodal: UnimodalConfig = UnimodalConfig()


class MMIMConfig(Settings):
    """`msa_core.hosts.mmim.MMIM`; the values are those of thuiar/MMSA 2.2.1, config_regression.json, mmim, for MOSI."""

    kind: Literal["mmim"] = "mmim"
    reads_every_token: ClassVar[bool] = False
    frames: FrameEncoderConfig = FrameEncoderConfig(hidden=16, width=16)  # d_ah, d_vh, d_aout, d_vout
    width: Width = Field(128, description="of the multimodal feature (d_prjh)")
    dropout: Number = Field(0.1, ge=0, lt=1, description="on the encodings before the fusion (dropout_prj)")
    bound: Number = Field(0.1, ge=0, description="weight of the bounds between modalities (beta)")
    contrast: Number = Field(0.1, ge=0, description="weight of the contrasts with the multimodal feature (alpha)")
    unimodal: UnimodalConfig = UnimodalConfig()


class MAGBertConfig(Settings):
    """`msa_core.hosts.mag_bert.MAGBert`; values of thuiar/MMSA 2.2.1, config_regression.json, bert_mag, for MOSI."""

    kind: Literal["mag_bert"] = "mag_bert"
    reads_every_token: ClassVar[bool] = True
    frames: FrameEncoderConfig = FrameEncoderConfig()  # the original has none: it reads aligned frames as they are
    shift: Number = Field(1.0, ge=0, description="largest norm of a token's shift, over the token's (beta_shift)")
    dropout: Number = Field(0.3, ge=0, lt=1, description="on the shifted tokens (dropout_prob)")
    head_dropout: Number = Field(0.1, ge=0, lt=1, description="on the multimodal feature (BERT's hidden_dropout_prob)")
    unimodal: UnimodalConfig = UnimodalConfig()


class AlternatingConfig(Settings):
    """`msa_core.hosts.alternating.Alternating`."""

    kind: Literal["alternating"] = "alternating"
    reads_every_token: ClassVar[bool] = False
    frames: FrameEncoderConfig = FrameEncoderConfig()
    width: Width = Field(32, description="of the space that the head reads; ours, not chosen on data")
    dropout: Number = Field(0.1, ge=0, lt=1, description="on the encodings; ours, not chosen on data")
    unimodal: UnimodalConfig = UnimodalConfig()


ModelConfig = Annotated[
    SharedEncodersConfig | MulTConfig | MISAConfig | MMIMConfig | MAGBertConfig | AlternatingConfig,
    Field(discriminator="kind"),
]
