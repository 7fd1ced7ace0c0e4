"""The same Transformer from this package, keras-hub, Hugging Face and torch.nn: a forward pass, and a training step.

Every function here imports its library itself, so that a process holds the contestant's only.
"""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Size:
    """The sizes of a model; the feed-forward network is four times as wide.

    Args:
        hidden_dim: int, width.
        num_layers: int, blocks.
        num_heads: int, heads.
        vocabulary_size: int, tokens.
        max_length: int, positions.
        preset: str, name among our presets.
        tokens: int, of one call: batch times length.
        causal: bool, GPT-2 with logits at every place, or else BERT with a pooler and two classes.
    """

    hidden_dim: int
    num_layers: int
    num_heads: int
    vocabulary_size: int
    max_length: int
    preset: str
    tokens: int
    causal: bool = False

    def tiny(self) -> "Size":
        """Returns the same kind of model, as small as it gets."""
        return dataclasses.replace(
            self, hidden_dim=32, num_layers=2, num_heads=4, vocabulary_size=100, max_length=64, tokens=64
        )


SIZES = {
    "minilm": Size(384, 6, 12, 30522, 512, "minilm-l6", 2048),
    "bert-base": Size(768, 12, 12, 30522, 512, "bert-base", 512),
    "gpt2-small": Size(768, 12, 12, 50257, 1024, "gpt2-small", 512, causal=True),
}
LEARNING_RATE = 1e-4  # of plain SGD, which costs next to nothing: the layers are compared, not the optimizers


@dataclasses.dataclass(frozen=True)
class Batch:
    """Random token ids, padded: lengths from three quarters of the longest up to it, in numpy arrays of int32."""

    token_ids: np.ndarray
    padding_mask: np.ndarray
    labels: np.ndarray

    @classmethod
    def draw(cls, size: Size, batch: int, length: int) -> "Batch":
        """Returns the same batch for every contestant."""
        random = np.random.default_rng(0)
        lengths = np.linspace(0.75, 1, batch + 2)[1:-1] * length
        mask = (np.arange(length) < lengths[:, None]).astype("int32")
        ids = random.integers(1, size.vocabulary_size, (batch, length)).astype("int32") * mask
        if not size.causal:
            return cls(ids, mask, random.integers(0, 2, batch).astype("int32"))
        return cls(ids, mask, np.roll(ids, -1, axis=1))

    @property
    def label_weights(self) -> np.ndarray:
        """1 where the next token is a real one, float32, of the shape of the mask."""
        weights = np.roll(self.padding_mask, -1, axis=1).astype("float32")
        weights[:, -1] = 0
        return weights


def our_config(size: Size):
    """Returns our config of a size."""
    from keras_transformer import models
    from keras_transformer.layers import AttentionConfig

    config = models.preset(size.preset)
    return models.preset(
        size.preset,
        hidden_dim=size.hidden_dim,
        num_layers=size.num_layers,
        vocabulary_size=size.vocabulary_size,
        max_length=size.max_length,
        attention=AttentionConfig(size.num_heads),
        feed_forward=dataclasses.replace(config.feed_forward, intermediate_dim=4 * size.hidden_dim),
    )


class Ours:
    """This package: `tf.function` around the model; for training `DistributedModel`, as the recipes use it.

    Args:
        size: Size.
        low: Whether in bfloat16: all weights in a forward pass, the matrix products only in training.
    """

    def __init__(self, size: Size, low: bool = False):
        from keras_transformer import models

        self._size = size
        self._low = low
        self.model = models.create(our_config(size))

    def parameters(self) -> int:
        """Number of trained values."""
        return self.model.count_params()

    def _inputs(self, batch: Batch) -> dict:
        inputs = {"token_ids": batch.token_ids, "padding_mask": batch.padding_mask}
        return inputs if self._size.causal else inputs | {"segment_ids": np.zeros_like(batch.token_ids)}

    def forward(self, batch: Batch) -> Callable[[], object]:
        """Returns a call of the compiled model."""
        import tensorflow as tf

        from keras_transformer import models, ops

        model = models.create(our_config(self._size), dtype="bfloat16") if self._low else self.model
        output = "logits" if self._size.causal else "sequence_output"
        inputs = {name: tf.constant(value) for name, value in self._inputs(batch).items()}

        @tf.function(autograph=False)
        def run(inputs):
            with ops.compiled_elementwise(self._low):  # which gains nothing in float32
                return tf.cast(model(inputs, training=False)[output], "float32")

        return lambda: run(inputs).numpy()

    def training_step(self, batch: Batch) -> Callable[[], object]:
        """Returns a training step."""
        import keras

        from keras_transformer import losses, models
        from keras_transformer.training.distributed import DistributedModel

        model, weights = self.model, None
        loss = losses.for_kind("single_label")
        if self._size.causal:
            loss, weights = keras.losses.SparseCategoricalCrossentropy(from_logits=True), batch.label_weights
        else:
            model = models.TextClassifier(self.model, num_outputs=2, pooling="first")
        trained = DistributedModel(model, examples_per_step=len(batch.labels) if weights is None else weights.sum())
        trained.compile(
            keras.optimizers.SGD(LEARNING_RATE),
            loss,
            product_dtype="bfloat16" if self._low else "float32",
            compiled_elementwise=True,
        )
        return lambda: trained.train_on_batch(self._inputs(batch), batch.labels, weights)


class KerasHub:
    """keras-hub's backbone with its task model on top."""

    def __init__(self, size: Size):
        import keras_hub

        sizes = {
            "vocabulary_size": size.vocabulary_size,
            "num_layers": size.num_layers,
            "num_heads": size.num_heads,
            "hidden_dim": size.hidden_dim,
            "intermediate_dim": 4 * size.hidden_dim,
            "max_sequence_length": size.max_length,
        }
        self._size = size
        if size.causal:
            self.backbone = keras_hub.models.GPT2Backbone(**sizes)
            self.task = keras_hub.models.GPT2CausalLM(self.backbone, preprocessor=None)
        else:
            self.backbone = keras_hub.models.BertBackbone(**sizes)
            self.task = keras_hub.models.BertTextClassifier(self.backbone, num_classes=2)

    def parameters(self) -> int:
        """Number of trained values."""
        return self.backbone.count_params()

    def _inputs(self, batch: Batch) -> dict:
        inputs = {"token_ids": batch.token_ids, "padding_mask": batch.padding_mask}
        return inputs if self._size.causal else inputs | {"segment_ids": np.zeros_like(batch.token_ids)}

    def forward(self, batch: Batch) -> Callable[[], object]:
        """Returns a call of the compiled model."""
        import tensorflow as tf

        model = self.task if self._size.causal else self.backbone
        run = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
        inputs = {name: tf.constant(value) for name, value in self._inputs(batch).items()}
        if self._size.causal:
            return lambda: run(inputs).numpy()
        return lambda: run(inputs)["sequence_output"].numpy()

    def training_step(self, batch: Batch) -> Callable[[], object]:
        """Returns a training step."""
        import keras

        self.task.compile(
            optimizer=keras.optimizers.SGD(LEARNING_RATE),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[],
        )
        weights = batch.label_weights if self._size.causal else None
        return lambda: self.task.train_on_batch(self._inputs(batch), batch.labels, weights)


class _Torch:
    """What the contestants in PyTorch have in common: `logits`, `loss` and `model` are theirs."""

    def __init__(self, low: bool):
        import torch

        torch.manual_seed(0)
        self._low = low

    def forward(self, batch: Batch) -> Callable[[], object]:
        """Returns a call of the model; in bfloat16 all of its weights are."""
        import torch

        model = self.model.to(torch.bfloat16) if self._low else self.model
        model.eval()
        inputs = self._inputs(batch)

        def call():
            with torch.inference_mode():
                return self._output(inputs).float().numpy()

        return call

    def training_step(self, batch: Batch) -> Callable[[], object]:
        """Returns a training step; in bfloat16 by `torch.autocast`, with float32 weights."""
        import torch

        model = self.model.float()
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        inputs, labels = self._inputs(batch), torch.tensor(batch.labels, dtype=torch.long)
        if labels.ndim == 2:
            labels[torch.tensor(batch.label_weights) == 0] = -100

        def call():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=self._low):
                logits = self._logits(inputs)
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2).float(), labels.flatten())
            loss.backward()
            optimizer.step()
            return loss.item()

        return call


class HuggingFace(_Torch):
    """Hugging Face transformers, attention by `scaled_dot_product_attention`.

    Args:
        size: Size.
        low: Whether in bfloat16.
    """

    def __init__(self, size: Size, low: bool = False):
        import transformers

        super().__init__(low)
        self._size = size
        common = {"vocab_size": size.vocabulary_size, "attn_implementation": "sdpa"}
        if size.causal:
            config = transformers.GPT2Config(
                n_positions=size.max_length,
                n_embd=size.hidden_dim,
                n_layer=size.num_layers,
                n_head=size.num_heads,
                use_cache=False,
                bos_token_id=0,
                eos_token_id=0,
                **common,
            )
            self.model = transformers.GPT2LMHeadModel(config)
        else:
            config = transformers.BertConfig(
                hidden_size=size.hidden_dim,
                num_hidden_layers=size.num_layers,
                num_attention_heads=size.num_heads,
                intermediate_size=4 * size.hidden_dim,
                max_position_embeddings=size.max_length,
                **common,
            )
            self.model = transformers.BertForSequenceClassification(config)

    def parameters(self) -> int:
        """Number of trained values, without the head of two classes."""
        backbone = self.model if self._size.causal else self.model.bert
        return sum(parameter.numel() for parameter in backbone.parameters())

    def _inputs(self, batch: Batch) -> dict:
        import torch

        ids, mask = (torch.tensor(array, dtype=torch.long) for array in (batch.token_ids, batch.padding_mask))
        return {"input_ids": ids, "attention_mask": mask}

    def _output(self, inputs: dict):
        return self.model(**inputs).logits if self._size.causal else self.model.bert(**inputs).last_hidden_state

    def _logits(self, inputs: dict):
        return self.model(**inputs).logits


class TorchNN(_Torch):
    """`torch.nn.TransformerEncoder`, with its fast path in inference; for encoders."""

    def __init__(self, size: Size):
        import torch

        super().__init__(low=False)
        layer = torch.nn.TransformerEncoderLayer(
            size.hidden_dim, size.num_heads, 4 * size.hidden_dim, dropout=0.1, activation="gelu", batch_first=True
        )
        self.model = torch.nn.ModuleDict(
            {
                "tokens": torch.nn.Embedding(size.vocabulary_size, size.hidden_dim),
                "positions": torch.nn.Embedding(size.max_length, size.hidden_dim),
                "norm": torch.nn.LayerNorm(size.hidden_dim),
                "dropout": torch.nn.Dropout(0.1),
                "encoder": torch.nn.TransformerEncoder(layer, size.num_layers),
                "head": torch.nn.Linear(size.hidden_dim, 2),
            }
        )

    def _inputs(self, batch: Batch) -> dict:
        import torch

        return {
            "ids": torch.tensor(batch.token_ids, dtype=torch.long),
            "padding": torch.tensor(batch.padding_mask == 0),
        }

    def _output(self, inputs: dict):
        import torch

        part = self.model
        places = torch.arange(inputs["ids"].shape[1])
        x = part["dropout"](part["norm"](part["tokens"](inputs["ids"]) + part["positions"](places)))
        return part["encoder"](x, src_key_padding_mask=inputs["padding"])

    def _logits(self, inputs: dict):
        return self.model["head"](self._output(inputs)[:, 0])


CONTESTANTS: dict[str, Callable[[Size], object]] = {
    "ours": Ours,
    "ours_bfloat16": lambda size: Ours(size, low=True),
    "keras_hub": KerasHub,
    "hugging_face": HuggingFace,
    "hugging_face_bfloat16": lambda size: HuggingFace(size, low=True),
    "torch_nn": TorchNN,
}


def set_threads() -> None:
    """Gives PyTorch as many threads as TensorFlow has: one for each core."""
    import os

    import torch

    torch.set_num_threads(os.cpu_count() or 1)
