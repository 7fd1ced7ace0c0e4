"""The optimizer of a fine-tuning run."""

from typing import Any

from keras_transformer.optimizers.adamw import AdamW
from keras_transformer.optimizers.depths import variable_depths, with_blocks
from keras_transformer.optimizers.schedules import LinearWarmupDecay


def create(
    model: Any,
    learning_rate: float,
    total_steps: int,
    warmup_fraction: float = 0.1,
    weight_decay: float = 0.01,
    layer_decay: float = 1.0,
    clip_norm: float | None = 1.0,
    epsilon: float = 1e-6,
    beta_2: float = 0.999,
    ema_decay: float | None = None,
    sparse_embeddings: bool = False,
) -> AdamW:
    """Returns the optimizer of a fine-tuning run: AdamW with linear warm-up and decay.

    Args:
        model: Built `keras.Model` that will be trained; its encoder's blocks give the depths for `layer_decay`.
        learning_rate: Peak learning rate, above 0.
        total_steps: Number of updates of the whole training.
        warmup_fraction: Share of the updates before the peak, in [0, 1). Default 0.1.
        weight_decay: Decay of all weights but norms and biases. Default 0.01.
        layer_decay: Factor in (0, 1] between the learning rates of neighbouring layers. Default 1.
        clip_norm: Largest global norm of the gradients, or None. Default 1.
        epsilon: Added to the root of the mean square. Default 1e-6.
        beta_2: Decay of the mean of the squared gradients. Default 0.999.
        ema_decay: Decay of the mean of the weights, or None. Default None.
        sparse_embeddings: Whether only the rows of the token table that a batch has are updated, see `lazy_table` of
            `AdamW`; for `DistributedModel` on one device. Default False.

    Returns:
        `AdamW`, not yet built.

    Raises:
        ValueError: For an argument out of its range, or a `layer_decay` for a model without blocks.

    Example:
        ```python
        import keras
        from keras_transformer import optimizers

        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        optimizer = optimizers.create(model, learning_rate=1e-3, total_steps=100)
        assert optimizer.get_config()["learning_rate"]["config"]["warmup_steps"] == 10
        ```
    """
    if not 0 <= warmup_fraction < 1:
        raise ValueError(f"warmup_fraction must be in [0, 1). Received: {warmup_fraction!r}")
    return AdamW(
        LinearWarmupDecay(learning_rate, total_steps, int(warmup_fraction * total_steps)),
        weight_decay=weight_decay,
        beta_2=beta_2,
        epsilon=epsilon,
        layer_decay=layer_decay,
        depths=None if layer_decay == 1 else variable_depths(model),
        global_clipnorm=clip_norm,
        ema_decay=ema_decay,
        lazy_table=with_blocks(model).embeddings.tokens.table.path if sparse_embeddings else None,
    )
