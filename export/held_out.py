"""The held-out texts of a run folder, read again by what its recipe says."""

import json
import pathlib


def load_held_out(run: pathlib.Path, size: int | None):
    """Loads the test part of the data that a run was trained on.

    Args:
        run: Run folder with `recipe.json`.
        size: int, how many texts to take, chosen by the seed of the run; None for all.

    Returns:
        `data.Examples`.

    Raises:
        FileNotFoundError: If the run has no recipe, or its data is not there.
        ValueError: If the recipe is damaged, or its data has no test part.
        ImportError: If reading the data needs a package that is not installed.
    """
    from keras_transformer import data
    from keras_transformer.data.splitting import subset

    path = run / "recipe.json"
    if not path.is_file():
        raise FileNotFoundError(f"There is no recipe.json in {run}, so the held-out texts are not known.")
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
        wanted, kind, seed = recipe["data"], recipe["model"]["kind"], recipe["seed"]
        columns = wanted["label_column"]
        splits = data.load(
            wanted["source"],
            text_column=wanted["text_column"],
            label_column=None if not columns else columns[0] if len(columns) == 1 else columns,
            label_separator=wanted["label_separator"] if kind == "multi_label" else None,
            kind=kind,
            validation_fraction=wanted["validation_fraction"],
            test_fraction=wanted["test_fraction"],
            seed=seed,
        )
        test = subset(splits.test, wanted["test_examples"], seed)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not len(test):
        raise ValueError(f"The data of {run} has no held-out texts: {splits.description}")
    return subset(test, None if size is None else min(size, len(test)), seed)
