"""What can be done with a finished run: load its model, and score other labelled texts with it."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_transformer import data, evaluation, pipelines
from keras_transformer.data.splitting import subset
from keras_transformer.pipelines.checks import SETTINGS_FILE
from keras_transformer.training.preparation import load_splits
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.run_folder import RunFolder


def load_pipeline(run_dir: str | os.PathLike[str], task: str | None = None) -> pipelines.TextPipeline:
    """Load the model of a run, or of a folder that `TextPipeline.save` wrote.

    Args:
        run_dir: the folder.
        task: str, which task of a run of several. Default None: the run has only one.

    Returns:
        `TextPipeline`.

    Raises:
        FileNotFoundError: If no model is saved there (yet).
        ValueError: If it is damaged, or the run has no such task.
    """
    folder = Path(run_dir)
    tasks = sorted(path.parent.name for path in (folder / "model").glob(f"*/{SETTINGS_FILE}"))
    if tasks and task not in tasks:
        raise ValueError(f"The run has the tasks {', '.join(tasks)}: name one with --task. Received: {task or 'none'}")
    if task is not None and not tasks:
        raise ValueError(f"{folder} holds no models of several tasks (yet): leave --task out. Received: {task}")
    return pipelines.load(folder if task is None else folder / "model" / task)


def load_held_out(run_dir: str | os.PathLike[str], task: str, size: int, data_dir: str | None = None) -> data.Examples:
    """Read again the test part by which a task of a run of several is judged.

    Args:
        run_dir: the folder.
        task: str, which task.
        size: int, how many texts to take, chosen by the seed of the run.
        data_dir: str or None, folder of prepared data.

    Returns:
        `data.Examples`.
    """
    recipe = RunFolder(run_dir).recipe().of_tasks()[task]
    return subset(load_splits(recipe, data_dir).test, size, recipe.seed)


def score(pipeline: pipelines.TextPipeline, recipe: Recipe, data_dir: str | None = None) -> dict[str, Any]:
    """Score labelled texts that have nothing to do with the run.

    Args:
        pipeline: `TextPipeline`.
        recipe: `Recipe` whose `data` says where the texts are.
        data_dir: str or None, folder of prepared data.

    Returns:
        Dict with `data` (where the texts come from), `part` (`"test"` where the source has such a part, else `"all"`)
        and `model` (the report of the kind of label).

    Raises:
        ValueError: If the labels are not those of the model.
    """
    wanted, columns = recipe.data, recipe.data.label_column
    splits = data.load(
        wanted.source,
        data_dir=data_dir,
        text_column=wanted.text_column,
        label_column=None if not columns else columns[0] if len(columns) == 1 else columns,
        label_separator=wanted.label_separator if pipeline.kind == "multi_label" else None,
        class_names=None if wanted.source.startswith("imdb") else pipeline.class_names,
        kind=pipeline.kind,
        validation_fraction=0.0,
        test_fraction=0.0,
        seed=recipe.seed,
    )
    if splits.class_names != pipeline.class_names:
        raise ValueError(
            f"The model knows the classes {', '.join(pipeline.class_names)}. Received: {', '.join(splits.class_names)}"
        )
    part, examples = ("test", splits.test) if len(splits.test) else ("all", splits.train)
    logits = pipeline.logits(examples.texts)
    if pipeline.kind == "regression":
        report = evaluation.regression_report(logits, examples.labels, pipeline.class_names)
    else:
        scores = np.asarray(pipeline.probabilities_of(logits), np.float64)
        of_kind = evaluation.multi_label_report if pipeline.kind == "multi_label" else evaluation.classification_report
        report = of_kind(scores, examples.labels, pipeline.class_names)
    return {"data": splits.description, "part": part, "model": report}
