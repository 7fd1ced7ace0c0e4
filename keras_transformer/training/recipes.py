"""The recipes that have a name: `--recipe=imdb`, `demo`, `scratch`, `imdb_pretrained` and `imdb_adapted`."""

import os
from pathlib import Path

from keras_transformer.data.plan import BUCKET_LENGTHS
from keras_transformer.training.fields import suggest
from keras_transformer.training.pretrain_section import PretrainRecipe
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.sections import (
    DataRecipe,
    ExportRecipe,
    JudgeRecipe,
    ModelRecipe,
    OptimizerRecipe,
    TrainRecipe,
)

IMDB = Recipe()

# Fifteen minutes on two CPU cores, environment and export included: a part of the reviews, one epoch, shorter texts.
DEMO = Recipe(
    data=DataRecipe(
        train_examples=4000,
        validation_examples=500,
        max_length=256,
        truncation="head_tail",
    ),
    train=TrainRecipe(epochs=1, tokens_per_batch=4096, patience=None),
    judge=JudgeRecipe(uncleaned=False, deletion_texts=20, worst_mistakes=5),
    export=ExportRecipe(precisions=("float32",)),
)

# Only the labels to learn from: a larger encoder knows the training texts by heart after one epoch. A small one can
# afford to read twice as much of each text, the end included, where reviews say what they think.
SCRATCH = Recipe(
    data=DataRecipe(max_length=1024, bucket_lengths=(*BUCKET_LENGTHS, 640, 768, 1024)),
    model=ModelRecipe(
        init="scratch",
        dropout=0.3,
        head_dropout=0.5,
        hidden_dim=32,
        num_layers=1,
        num_heads=2,
        intermediate_dim=64,
    ),
    optimizer=OptimizerRecipe(learning_rate=1e-3, weight_decay=0.05, layer_decay=1.0),
    train=TrainRecipe(epochs=2, tokens_per_batch=8192, label_smoothing=0.05),
)

# An encoder of four million parameters learns the words of the training reviews first, then what they think. What the
# first token is good for it does not learn from masks: hence the mean.
IMDB_PRETRAINED = Recipe(
    data=DataRecipe(max_length=512),
    model=ModelRecipe(
        init="scratch",
        pooling="mean",
        vocabulary_size=10000,
        hidden_dim=256,
        num_layers=2,
        num_heads=4,
        intermediate_dim=1024,
    ),
    pretrain=PretrainRecipe(
        objective="masked", epochs=6, tokens_per_batch=4096, learning_rate=1e-3, probe_examples=1000
    ),
    optimizer=OptimizerRecipe(learning_rate=3e-4, layer_decay=0.8),
    train=TrainRecipe(epochs=3, tokens_per_batch=8192),
)

# MiniLM reads the training reviews without their labels before it is fine-tuned as in `imdb`.
IMDB_ADAPTED = Recipe(
    pretrain=PretrainRecipe(objective="masked", epochs=2, learning_rate=3e-4, probe_examples=1000),
)

NAMED = {
    "imdb": IMDB,
    "demo": DEMO,
    "scratch": SCRATCH,
    "imdb_pretrained": IMDB_PRETRAINED,
    "imdb_adapted": IMDB_ADAPTED,
}


def load_recipe(name_or_path: str | os.PathLike[str]) -> Recipe:
    """Return a recipe by its name, or read one from a JSON file.

    Args:
        name_or_path: str, `"imdb"`, `"demo"`, `"scratch"`, `"imdb_pretrained"`, `"imdb_adapted"`, or the path of a
            file.

    Returns:
        The `Recipe`.

    Raises:
        FileNotFoundError: If it is neither a name nor a file.
        ValueError: If the file holds no valid recipe.

    Example:

    ```python
    from keras_transformer.training import load_recipe

    assert load_recipe("demo").data.train_examples is not None
    ```
    """
    text = os.fspath(name_or_path)
    if text in NAMED:
        return NAMED[text]
    if not Path(text).is_file():
        raise FileNotFoundError(
            f"--recipe takes a name ({', '.join(NAMED)}) or a JSON file.{suggest(text, NAMED)} Received: {text!r}"
        )
    return Recipe.from_file(text)
