"""The section of a Recipe on pretraining."""

import dataclasses
from typing import Any

from keras_transformer.training.fields import check_at_least, check_between, check_choice

OBJECTIVES = {
    **dict.fromkeys(("masked", "replaced", "next_sentence", "sentence_order", "contrastive"), "encoder"),
    **dict.fromkeys(("next_token", "prefix"), "decoder"),
    **dict.fromkeys(("span_corruption", "denoising"), "encoder_decoder"),
}
"""What can be learned from text without labels, and the kind of model that learns it."""


@dataclasses.dataclass(frozen=True)
class PretrainRecipe:
    """What the model learns from text without labels, before it is fine-tuned.

    Args:
        objective: str, `"none"` (default) for no pretraining, or one of `OBJECTIVES`.
        corpus: str, what is read: a folder, a .txt, .jsonl, .csv or .tsv file, `"imdb"`, `"imdb:unlabelled"`,
            `"imdb:all"` or `"tfds:NAME"`. Default empty: the training texts of `data.source`, and nothing of its other
            parts.
        text_column: str, column of the text in a file. Default `"text"`.
        near_duplicates: bool, leave out texts that are nearly alike, too. Default False: only equal ones.
        held_out: float in (0, 0.5], share of the documents on which loss and perplexity are measured. Default 0.01.
        row_length: int, tokens of a row. Default 256.
        crossing: bool, let the documents of a row see each other. Default False.
        mask_rate: float in (0, 1) or None, share of the tokens that are masked, replaced or left out. Default None:
            that of the objective's paper, 0.15, or 0.3 for `"denoising"`.
        mask_unit: str, what is masked at once: `"word"` (default), `"token"`, or `"span"`, runs of words.
        generator_size: float in (0, 1], width of the generator of `"replaced"` as a share of the model's. Default 0.25.
        epochs: int, passes over the corpus. Default 10.
        tokens_per_batch: int, tokens of a step: `tokens_per_batch // row_length` rows. Default 8192.
        learning_rate: float, the peak. Default 5e-4.
        warmup_fraction: float in [0, 1), part of all steps. Default 0.06.
        weight_decay: float. Default 0.01.
        clip_norm: float or None, bound on the global norm of the gradients. Default 1.0.
        ema_decay: float in (0, 1) or None, keep a running mean of the weights. Default None.
        frozen_layers: int or None, lowest blocks that are not trained, nor are the embeddings then. Default None.
        lora_rank: int or None, train adapters of this rank on the attention instead of the model. Default None.
        layer_decay: float in (0, 1], each block below the top learns this much slower. Default 1.0.
        validations_per_epoch: int. Default 1.
        patience: int or None, stop after so many validations without a lower loss. Default None: never.
        probe_examples: int, labelled texts of the training part on which a linear classifier is fitted to the frozen
            model at every validation, and as many of the validation part that judge it; 0 (default) for none.
        spike_factor: float or None, go back to the last checkpoint when a loss lies so many standard deviations above
            the last fifty. Default 10; None: only a loss that is not finite, which ends the training.
    """

    objective: str = "none"
    corpus: str = ""
    text_column: str = "text"
    near_duplicates: bool = False
    held_out: float = 0.01
    row_length: int = 256
    crossing: bool = False
    mask_rate: float | None = None
    mask_unit: str = "word"
    generator_size: float = 0.25
    epochs: int = 10
    tokens_per_batch: int = 8192
    learning_rate: float = 5e-4
    warmup_fraction: float = 0.06
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0
    ema_decay: float | None = None
    frozen_layers: int | None = None
    lora_rank: int | None = None
    layer_decay: float = 1.0
    validations_per_epoch: int = 1
    patience: int | None = None
    probe_examples: int = 0
    spike_factor: float | None = 10.0

    def __post_init__(self) -> None:
        check_choice("pretrain.objective", self.objective, ("none", *OBJECTIVES))
        check_between("pretrain.held_out", self.held_out, 0.0, 0.5, "(]")
        check_choice("pretrain.mask_unit", self.mask_unit, ("word", "token", "span"))
        if self.mask_rate is not None:
            check_between("pretrain.mask_rate", self.mask_rate, 0.0, 1.0, "()")
        check_between("pretrain.generator_size", self.generator_size, 0.0, 1.0, "(]")
        check_at_least("pretrain.row_length", self.row_length, 8)
        check_at_least("pretrain.epochs", self.epochs, 1)
        check_between("pretrain.learning_rate", self.learning_rate, 0.0, 1.0, "(]")
        check_between("pretrain.warmup_fraction", self.warmup_fraction, 0.0, 1.0, "[)")
        check_between("pretrain.weight_decay", self.weight_decay, 0.0, 1.0, "[]")
        check_at_least("pretrain.validations_per_epoch", self.validations_per_epoch, 1)
        check_at_least("pretrain.probe_examples", self.probe_examples, 0)
        if self.clip_norm is not None:
            check_between("pretrain.clip_norm", self.clip_norm, 0.0, float("inf"), "(]")
        if self.ema_decay is not None:
            check_between("pretrain.ema_decay", self.ema_decay, 0.0, 1.0, "()")
        if self.frozen_layers is not None:
            check_at_least("pretrain.frozen_layers", self.frozen_layers, 0)
        if self.lora_rank is not None:
            check_at_least("pretrain.lora_rank", self.lora_rank, 1)
        check_between("pretrain.layer_decay", self.layer_decay, 0.0, 1.0, "(]")
        if self.patience is not None:
            check_at_least("pretrain.patience", self.patience, 1)
        if self.spike_factor is not None:
            check_between("pretrain.spike_factor", self.spike_factor, 0.0, float("inf"), "(]")
        adapted = self.frozen_layers, self.lora_rank, self.layer_decay
        if self.model_kind == "encoder_decoder" and adapted != (None, None, 1.0):
            raise ValueError(
                "pretrain.frozen_layers, lora_rank and layer_decay are for encoders and decoders alone. "
                f"Received: {self.frozen_layers}, {self.lora_rank}, {self.layer_decay}, objective={self.objective}"
            )
        if self.tokens_per_batch < self.row_length:
            raise ValueError(
                "pretrain.tokens_per_batch must be at least pretrain.row_length, so that a row fits. "
                f"Received: tokens_per_batch={self.tokens_per_batch}, row_length={self.row_length}"
            )

    def options(self, pooling: str) -> dict[str, Any]:
        """Return the arguments that the objective takes beside row length and seed.

        Args:
            pooling: str, how a text becomes one vector.
        """
        rate = {} if self.mask_rate is None else {"rate": self.mask_rate}
        masking, crossing = {**rate, "unit": self.mask_unit}, {"crossing": self.crossing}
        return {
            "masked": masking | crossing,
            "replaced": masking | crossing | {"generator_fraction": self.generator_size},
            "next_sentence": masking,
            "sentence_order": masking,
            "contrastive": {"pooling": pooling},
            "next_token": crossing,
            "prefix": crossing,
            "span_corruption": rate,
            "denoising": rate,
        }[self.objective]

    @property
    def wanted(self) -> bool:
        """Whether there is a pretraining."""
        return self.objective != "none"

    @property
    def model_kind(self) -> str:
        """The kind of model that learns the objective; without one that of fine-tuning, an encoder."""
        return OBJECTIVES.get(self.objective, "encoder")
