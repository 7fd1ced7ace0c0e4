"""Constructor arguments of everything else that a model file may hold."""

from keras_transformer import losses, optimizers

OBJECTS = {
    losses.ClassificationLoss: {
        "kind": "multi_label",
        "label_smoothing": 0.2,
        "reduction": "sum",
        "name": "tags",
    },
    losses.BinaryLoss: {"reduction": None, "name": "replaced"},
    losses.RegressionLoss: {"reduction": None, "name": "stars"},
    optimizers.AdamW: {
        "learning_rate": 0.5,
        "weight_decay": 0.25,
        "beta_1": 0.5,
        "beta_2": 0.75,
        "epsilon": 0.125,
        "layer_decay": 0.5,
        "depths": {"embeddings/tokens/table": 0, "head/kernel": 3},
        "undecayed": ["bias"],
        "global_clipnorm": 2.0,
        "name": "adam",
        "ema_decay": 0.9,
        "lazy_table": None,  # not with a mean of the weights
    },
    optimizers.LinearWarmupDecay: {
        "peak_learning_rate": 0.5,
        "total_steps": 10,
        "warmup_steps": 3,
        "final_fraction": 0.25,
    },
}
