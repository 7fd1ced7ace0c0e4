"""The sections of a Recipe: model, data, optimizer, train, judge, export; each checks its own ranges."""

import dataclasses
import itertools

from keras_transformer.data.plan import BUCKET_LENGTHS
from keras_transformer.training.fields import check_at_least, check_between, check_choice
from keras_transformer.training.tasks import parse_tasks

KINDS = ("single_label", "multi_label", "regression")
TOKENIZERS = ("wordpiece", "byte_level_bpe", "sentence_piece")
SCALES = ("standardised", "raw")
SKIP_GRAM = "skip_gram"
FORMATS = (
    *("saved_model", "tflite", "tflite_tokens", "tflite_text", "tflite_dynamic"),
    *("mediapipe", "mediapipe_classifier", "mediapipe_embedder", "onnx"),
)
PRECISIONS = ("float32", "float16", "int8", "int4_table", "int4", "full_int8")
"""These and the formats are those of the export, of which training knows no more than the names."""


@dataclasses.dataclass(frozen=True)
class ModelRecipe:
    """Which network is trained and from which weights.

    Args:
        init: str, `"minilm"`, a folder, `"hf:OWNER/NAME"`, or `"scratch"`. Default `"minilm"`.
        kind: str, `"single_label"`, `"multi_label"` or `"regression"`. Default `"single_label"`.
        pooling: str, `"mean"` or `"first"`. Default `"mean"`.
        dropout: float in [0, 1), in the encoder. Default 0.1.
        attention_dropout: float in [0, 1), on attention probabilities. Default 0.0.
        head_dropout: float in [0, 1), before the output layer. Default 0.1.
        trim_last_block: bool, with `pooling="first"` compute the last block for that token only. Default True.
        tokenizer: str, the kind of vocabulary to learn: `"wordpiece"` (default), `"byte_level_bpe"` or
            `"sentence_piece"`. From here on: for `init="scratch"` only.
        vocabulary_size: int, tokens to learn. Default 16000.
        hidden_dim: int, width. Default 128.
        num_layers: int, encoder blocks. Default 2.
        num_heads: int, attention heads. Default 4.
        intermediate_dim: int, width of the feed-forward layer. Default 512.
        position: str, `"learned"` or `"sincos"`. Default `"learned"`.
        norm_first: bool, pre-norm blocks instead of post-norm. Default False.
        word_vectors: str, what the table of token embeddings starts from: a file of GloVe or word2vec, or `"skip_gram"`
            to learn word vectors from the training texts. Default empty: random values.
        word_vector_scale: str, `"standardised"` to the scale of random values (default), or `"raw"`.
        freeze_word_vectors: bool, leave the table as it starts, from word vectors or, with another `init`, from
            pretrained weights. Default False.
    """

    init: str = "minilm"
    kind: str = "single_label"
    pooling: str = "mean"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    head_dropout: float = 0.1
    trim_last_block: bool = True
    tokenizer: str = "wordpiece"
    vocabulary_size: int = 16000
    hidden_dim: int = 128
    num_layers: int = 2
    num_heads: int = 4
    intermediate_dim: int = 512
    position: str = "learned"
    norm_first: bool = False
    word_vectors: str = ""
    word_vector_scale: str = "standardised"
    freeze_word_vectors: bool = False

    def __post_init__(self) -> None:
        check_choice("model.kind", self.kind, KINDS)
        check_choice("model.pooling", self.pooling, ("mean", "first"))
        check_choice("model.position", self.position, ("learned", "sincos"))
        check_choice("model.tokenizer", self.tokenizer, TOKENIZERS)
        check_choice("model.word_vector_scale", self.word_vector_scale, SCALES)
        for name in ("dropout", "attention_dropout", "head_dropout"):
            check_between(f"model.{name}", getattr(self, name), 0.0, 1.0, "[)")
        for name in ("hidden_dim", "num_layers", "num_heads", "intermediate_dim"):
            check_at_least(f"model.{name}", getattr(self, name), 1)
        check_at_least("model.vocabulary_size", self.vocabulary_size, 100)
        if self.hidden_dim % self.num_heads:
            raise ValueError(
                "model.hidden_dim must be a multiple of model.num_heads. "
                f"Received: hidden_dim={self.hidden_dim}, num_heads={self.num_heads}"
            )
        if self.word_vectors and self.init != "scratch":
            raise ValueError(
                "model.word_vectors are the start of a new model: use model.init=scratch, or leave them out. "
                f"Received: word_vectors={self.word_vectors!r}, init={self.init!r}"
            )
        if self.freeze_word_vectors and self.init == "scratch" and not self.word_vectors:
            raise ValueError(
                "model.freeze_word_vectors would freeze random values: name model.word_vectors, too. "
                "Received: freeze_word_vectors=True, word_vectors='', init='scratch'"
            )


@dataclasses.dataclass(frozen=True)
class DataRecipe:
    """Which examples are read, how they are split, and how a text becomes token ids.

    Args:
        source: str, `"imdb"`, `"imdb:official"`, `"tfds:NAME"`, an aclImdb folder, or a .csv / .tsv / .jsonl file.
        tasks: tuple of str, several tasks that one encoder learns together, in place of `source`; each
            `"NAME=SOURCE"`, behind which `":kind=KIND"`, `":text=COLUMN"` and `":label=COLUMN"` may stand instead of
            `model.kind` and the columns here. Default empty.
        text_column: str or None, column of the text in a file. Default None, which means `"text"`.
        label_column: tuple of str, the column of the label in a file, or one for each number of a regression.
            Default empty, which means `"label"`.
        label_separator: str, splits one cell into several labels (multi-label only). Default `"|"`.
        keep_markup_fraction: float in [0, 1], part of the IMDB training reviews that keep their HTML. Default 0.1.
        validation_fraction: float in (0, 1), where the source has no validation split. Default 0.1.
        test_fraction: float in (0, 1), where the source has no test split. Default 0.1.
        train_examples: int or None, train on a seeded, stratified part of this size. Default None (all).
        validation_examples: int or None, judge epochs on a part of this size. Default None (all).
        test_examples: int or None, judge the result on a part of this size. Default None (all).
        max_length: int, tokens per text, `[CLS]` and `[SEP]` included. Default 512.
        truncation: str, what is kept of longer texts: `"head"`, `"head_tail"` or `"windows"`. Default `"head"`.
        head_fraction: float in [0, 1], with `"head_tail"` the share that is kept of the beginning. Default 0.25.
        stride: int or None, with `"windows"` the tokens from one window to the next. Default None: half a window.
        bucket_lengths: tuple of int, lengths that batches are padded to; those above `max_length` are dropped. Default
            32, 64, .. 512.
        packing: bool, train on rows of `max_length` tokens with several whole texts in each, instead of texts padded to
            the lengths above. Default False.
        lowercase: bool, for `init="scratch"` only (other starts obey their own tokenizer_config.json). Default True.
    """

    source: str = "imdb"
    tasks: tuple[str, ...] = ()
    text_column: str | None = None
    label_column: tuple[str, ...] = ()
    label_separator: str = "|"
    keep_markup_fraction: float = 0.1
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    train_examples: int | None = None
    validation_examples: int | None = None
    test_examples: int | None = None
    max_length: int = 512
    truncation: str = "head"
    head_fraction: float = 0.25
    stride: int | None = None
    bucket_lengths: tuple[int, ...] = BUCKET_LENGTHS
    packing: bool = False
    lowercase: bool = True

    def __post_init__(self) -> None:
        parse_tasks(self.tasks)
        check_choice("data.truncation", self.truncation, ("head", "head_tail", "windows"))
        check_between("data.head_fraction", self.head_fraction, 0.0, 1.0, "[]")
        if self.stride is not None:
            check_at_least("data.stride", self.stride, 1)
        check_between("data.keep_markup_fraction", self.keep_markup_fraction, 0.0, 1.0, "[]")
        check_between("data.validation_fraction", self.validation_fraction, 0.0, 1.0, "()")
        check_between("data.test_fraction", self.test_fraction, 0.0, 1.0, "()")
        for name in ("train_examples", "validation_examples", "test_examples"):
            if getattr(self, name) is not None:
                check_at_least(f"data.{name}", getattr(self, name), 2)
        check_at_least("data.max_length", self.max_length, 3)
        lengths = self.bucket_lengths
        if not lengths or list(lengths) != sorted(set(lengths)) or lengths[0] < 1:
            raise ValueError(f"data.bucket_lengths must be positive and strictly increasing. Received: {list(lengths)}")

    def buckets(self) -> tuple[int, ...]:
        """Return the lengths that batches are padded to: those below `max_length`, then `max_length` itself."""
        return (*(n for n in self.bucket_lengths if n < self.max_length), self.max_length)


@dataclasses.dataclass(frozen=True)
class OptimizerRecipe:
    """AdamW with linear warm-up and decay.

    Args:
        learning_rate: float, the peak. Default 1e-4.
        warmup_fraction: float in [0, 1), part of all steps. Default 0.1.
        weight_decay: float, not applied to norms and biases. Default 0.01.
        layer_decay: float in (0, 1], each block below the top learns this much slower. Default 0.9.
        clip_norm: float or None, bound on the global norm of the gradients. Default 1.0.
        sparse_embeddings: bool, update only the rows of the token table that a batch has, and the others when they are
            next read; on one device only. Default False.
    """

    learning_rate: float = 1e-4
    warmup_fraction: float = 0.1
    weight_decay: float = 0.01
    layer_decay: float = 0.9
    clip_norm: float | None = 1.0
    sparse_embeddings: bool = False

    def __post_init__(self) -> None:
        check_between("optimizer.learning_rate", self.learning_rate, 0.0, 1.0, "(]")
        check_between("optimizer.warmup_fraction", self.warmup_fraction, 0.0, 1.0, "[)")
        check_between("optimizer.weight_decay", self.weight_decay, 0.0, 1.0, "[]")
        check_between("optimizer.layer_decay", self.layer_decay, 0.0, 1.0, "(]")
        if self.clip_norm is not None:
            check_between("optimizer.clip_norm", self.clip_norm, 0.0, float("inf"), "(]")


@dataclasses.dataclass(frozen=True)
class TrainRecipe:
    """How long and on what batches the model is trained, and which state of it is kept.

    Args:
        epochs: int, passes over the training part. Default 2.
        tokens_per_batch: int, tokens of a step, padding included: `tokens_per_batch // length` texts. Default 8192.
        accumulation_steps: int, steps whose gradients make one update of the weights. Default 1.
        frozen_layers: int or None, lowest encoder blocks that are not trained, nor are the embeddings then (0: only
            these). Default None: all is trained.
        lora_rank: int or None, train adapters of this rank on the attention instead of the encoder. Default None.
        ema_decay: float in (0, 1) or None, judge and keep a running mean of the weights, in which those of an update
            weigh so many times as much as those of the next one. Default None.
        length_curriculum: tuple of str `"LENGTH:UNTIL"`, cut texts to LENGTH tokens until the share UNTIL of all steps
            is done; both ascend, and after the last one texts are whole. Default empty.
        label_smoothing: float in [0, 1). Default 0.0.
        class_weights: str, `"none"`, `"balanced"`, or `"name=weight,name=weight"` (others 1). Default `"none"`.
        validations_per_epoch: int, how often the validation part is scored. Default 1.
        monitor: str, decides the best checkpoint: `"accuracy"`, `"loss"`, or `"auto"` (accuracy for one label).
        task_temperature: float above 0, with `data.tasks`: of n rows a task has the share `n ** (1 / task_temperature)`
            of what is trained on. Default 1: every row comes equally often.
        patience: int or None, stop after this many validations without a new best. Default 2; None never stops early.
        product_dtype: str, of the matrix products while training: `"float32"`, `"bfloat16"`, or `"auto"` (default) for
            bfloat16 where its products are faster, as measured; all else is float32.
        compiled_elementwise: bool, XLA compiles what lies between the products of a training step. Default True.
    """

    epochs: int = 2
    tokens_per_batch: int = 8192
    accumulation_steps: int = 1
    frozen_layers: int | None = None
    lora_rank: int | None = None
    ema_decay: float | None = None
    length_curriculum: tuple[str, ...] = ()
    label_smoothing: float = 0.0
    class_weights: str = "none"
    validations_per_epoch: int = 1
    monitor: str = "auto"
    task_temperature: float = 1.0
    patience: int | None = 2
    product_dtype: str = "auto"
    compiled_elementwise: bool = True

    def __post_init__(self) -> None:
        check_choice("train.product_dtype", self.product_dtype, ("auto", "float32", "bfloat16"))
        check_at_least("train.epochs", self.epochs, 1)
        check_at_least("train.tokens_per_batch", self.tokens_per_batch, 1)
        check_at_least("train.accumulation_steps", self.accumulation_steps, 1)
        if self.frozen_layers is not None:
            check_at_least("train.frozen_layers", self.frozen_layers, 0)
        if self.lora_rank is not None:
            check_at_least("train.lora_rank", self.lora_rank, 1)
        if self.ema_decay is not None:
            check_between("train.ema_decay", self.ema_decay, 0.0, 1.0, "()")
        check_between("train.label_smoothing", self.label_smoothing, 0.0, 1.0, "[)")
        check_at_least("train.validations_per_epoch", self.validations_per_epoch, 1)
        check_choice("train.monitor", self.monitor, ("auto", "accuracy", "loss"))
        check_between("train.task_temperature", self.task_temperature, 0.0, float("inf"), "()")
        if self.patience is not None:
            check_at_least("train.patience", self.patience, 1)
        stages = self.length_stages()
        for (length, until), (longer, later) in itertools.pairwise([(2, 0.0), *stages, (1 << 30, 1.0)]):
            if not (length < longer and until < later):  # also refuses NaN
                raise ValueError(
                    "train.length_curriculum must be LENGTH:UNTIL,LENGTH:UNTIL with lengths that ascend from 3 and "
                    f"shares that ascend between 0 and 1. Received: {','.join(self.length_curriculum)}"
                )

    def length_stages(self) -> tuple[tuple[int, float], ...]:
        """Return the length and the end, as a share of all steps, of each stage of `length_curriculum`."""
        stages = []
        for text in self.length_curriculum:
            length, _, until = text.partition(":")
            try:
                stages.append((int(length), float(until)))
            except ValueError as error:
                raise ValueError(
                    f"train.length_curriculum must have the form LENGTH:UNTIL, such as 128:0.5. Received: {text!r}"
                ) from error
        return tuple(stages)


@dataclasses.dataclass(frozen=True)
class JudgeRecipe:
    """What is measured on the trained model beside its own metrics.

    Args:
        uncleaned: bool, score the test reviews with their HTML as well, where the source has any. Default True.
        baseline: bool, fit TF-IDF bigrams + logistic regression on all of the training part. Default True.
        worst_mistakes: int, mistakes shown in the report with the words that drove them. Default 10.
        deletion_texts: int, reviews of the word-deletion test. Default 200; 0 leaves the test out.
        attribution_steps: int, points on the path of integrated gradients to begin with. Default 16.
    """

    uncleaned: bool = True
    baseline: bool = True
    worst_mistakes: int = 10
    deletion_texts: int = 200
    attribution_steps: int = 16

    def __post_init__(self) -> None:
        check_at_least("judge.worst_mistakes", self.worst_mistakes, 0)
        check_at_least("judge.deletion_texts", self.deletion_texts, 0)
        check_at_least("judge.attribution_steps", self.attribution_steps, 1)


@dataclasses.dataclass(frozen=True)
class ExportRecipe:
    """Which artefacts are written beside the Keras model.

    Args:
        formats: tuple of str, out of `"saved_model"`, `"tflite"` (token ids in, and raw text in), `"tflite_tokens"`,
            `"tflite_text"`, `"tflite_dynamic"`, `"mediapipe"`, `"mediapipe_classifier"`, `"mediapipe_embedder"` and
            `"onnx"`; empty exports nothing. Default `("saved_model", "tflite")`.
        precisions: tuple of str, in which the artefacts that are one file are written, out of `"float32"`, `"float16"`,
            `"int8"`, `"int4_table"`, `"int4"` and `"full_int8"`. Default `("float32", "int8")`.
        held_out: int, texts of the test part on which the accuracy of every artefact is measured; 0 for none.
            Default 0.
    """

    formats: tuple[str, ...] = ("saved_model", "tflite")
    precisions: tuple[str, ...] = ("float32", "int8")
    held_out: int = 0

    def __post_init__(self) -> None:
        for name in self.formats:
            check_choice("export.formats", name, FORMATS)
        for name in self.precisions:
            check_choice("export.precisions", name, PRECISIONS)
        if not self.precisions:
            raise ValueError(f"export.precisions must name at least one of {', '.join(PRECISIONS)}.")
        check_at_least("export.held_out", self.held_out, 0)
