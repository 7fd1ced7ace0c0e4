"""What is measured on a trained model: metrics beside the baseline, curves, mistakes, and what drove them."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_transformer import data, evaluation, losses
from keras_transformer.models import probabilities
from keras_transformer.pipelines import TextPipeline, score_rows
from keras_transformer.training.progress import CountBar
from keras_transformer.training.recipe import JudgeRecipe, Recipe

logger = logging.getLogger(__name__)


def measure(kind: str, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return what a validation reports: `loss`, and `accuracy` (of many labels: of all decisions) or `rmse`.

    Args:
        kind: str, kind of label.
        logits: float array of shape (texts, outputs).
        labels: int32 array of shape (texts,), or float32 (texts, outputs).
    """
    loss = float(np.mean(np.array(losses.for_kind(kind)(labels, logits))))
    if kind == "regression":
        return {"loss": loss, "rmse": float(np.sqrt(np.mean((logits - labels) ** 2)))}
    right = logits.argmax(axis=1) == labels if kind == "single_label" else (logits >= 0) == (labels >= 0.5)
    return {"loss": loss, "accuracy": float(np.mean(right))}


def judge(
    recipe: Recipe,
    splits: data.Splits,
    pipeline: TextPipeline,
    model: Any,
    log_seconds: float = 30.0,
    cache: data.TokenCache | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Score validation and test part, each once, and the baseline on the same texts.

    Args:
        recipe: `Recipe`.
        splits: `data.Splits`; the baseline is fitted on all of its training part.
        pipeline: `TextPipeline` whose packer encodes the texts.
        model: `keras.Model` that scores them, under whatever strategy it was trained.
        log_seconds: float, seconds between progress lines where there is no terminal. Default 30.
        cache: `data.TokenCache` that keeps the tokenized texts, or None (default).

    Returns:
        The content of metrics.json, and of the part of report.json that comes from the same scores.
    """
    kind, wanted = recipe.model.kind, recipe.judge
    parts = {"validation": splits.validation, "test": splits.test}
    scored = score(recipe, splits, pipeline, model, log_seconds, cache)
    baseline = None
    if wanted.baseline:
        logger.info("fitting the baseline (TF-IDF bigrams + linear model) on %d texts", len(splits.train))
        fitted = evaluation.TfidfBaseline(kind=kind, seed=recipe.seed).fit(splits.train.texts, splits.train.labels)
        baseline = {name: _columns(fitted.scores(part.texts), len(splits.class_names)) for name, part in parts.items()}
    metrics = evaluation.make_metrics(
        scored["validation"],
        scored["test"],
        kind=kind,
        class_names=splits.class_names,
        baseline=baseline,
        uncleaned=scored.get("uncleaned"),
        seed=recipe.seed,
    )
    shown = _drawings(kind, splits, scored["test"], baseline["test"] if baseline else None)
    if kind == "single_label":
        shown["mistakes"] = _mistakes(wanted, splits.test, np.array(probabilities(scored["test"]["logits"], kind)))
    return metrics, shown


def score(
    recipe: Recipe,
    splits: data.Splits,
    pipeline: TextPipeline,
    model: Any,
    log_seconds: float = 30.0,
    cache: data.TokenCache | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Score validation and test part, each once; of several workers each takes part.

    Args:
        recipe: `Recipe`.
        splits: `data.Splits`.
        pipeline: `TextPipeline` whose packer encodes the texts.
        model: `keras.Model` that scores them, under whatever strategy it was trained.
        log_seconds: float, seconds between progress lines where there is no terminal. Default 30.
        cache: `data.TokenCache` that keeps the tokenized texts, or None (default).

    Returns:
        Dict from "validation", "test" and, if it is wanted, "uncleaned" to a dict with `logits`, `labels`, `lengths`.
    """
    of_part = functools.partial(_score, recipe, pipeline, model, log_seconds, cache)
    scored = {name: of_part(getattr(splits, name), name) for name in ("validation", "test")}
    if recipe.judge.uncleaned and splits.test_raw is not None:
        scored["uncleaned"] = _score_uncleaned(of_part, splits, scored["test"])
    return scored


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """Return the lines that a person wants to see of metrics.json."""
    if "tasks" in metrics:
        return [f"{task}: {line}" for task, found in metrics["tasks"].items() for line in summary(found)]
    test, lines = metrics["test"], []
    for name in ("model", "uncleaned", "baseline"):
        if name not in test:
            continue
        report = test[name]
        if metrics["kind"] == "regression":
            lines.append(f"test, {name}: mse {report['mse']:.4f}, mae {report['mae']:.4f}")
            continue
        low, high = report["accuracy_interval"]
        f1 = f", F1 {report['f1']:.4f}" if isinstance(report.get("f1"), float) else ""
        lines.append(f"test, {name}: accuracy {report['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}){f1}")
    if "difference" in test:
        gap = test["difference"]
        lines.append(
            f"model minus baseline, paired ({gap['metric']}): {gap['difference']:+.4f} "
            f"(95 % interval {gap['low']:+.4f} to {gap['high']:+.4f})"
        )
    return lines


def explain(
    wanted: JudgeRecipe,
    pipeline: TextPipeline,
    texts: Sequence[str],
    mistakes: list[dict],
    seed: int,
    log_seconds: float = 30.0,
) -> dict[str, Any]:
    """Find the words that drove the worst mistakes, and test the explanations by deleting words.

    Args:
        wanted: `JudgeRecipe`.
        pipeline: `TextPipeline` of the trained model.
        texts: sequence of str of the test part, out of which the deletion test draws.
        mistakes: list of dict as `judge` returns them.
        seed: int, of the drawing.
        log_seconds: float, seconds between progress lines where there is no terminal. Default 30.

    Returns:
        Dict with `mistakes` (with their words) and, if it was wanted, `faithfulness`.
    """
    from keras_transformer import explain as room

    result: dict[str, Any] = {"mistakes": mistakes}
    if mistakes:
        logger.info("finding the words behind %d mistakes", len(mistakes))
        with CountBar("points", log_seconds) as progress:
            found = room.integrated_gradients(
                pipeline.model,
                pipeline.packer,
                [entry["text"] for entry in mistakes],
                steps=wanted.attribution_steps,
                progress=progress,
            )
        result["mistakes"] = [
            entry | {"words": [list(word) for word in attribution.words]}
            for entry, attribution in zip(mistakes, found, strict=True)
        ]
    if wanted.deletion_texts:
        chosen = np.random.default_rng(seed).permutation(len(texts))[: wanted.deletion_texts]
        logger.info("deleting words from %d texts", len(chosen))
        with CountBar("points", log_seconds) as progress:
            result["faithfulness"] = room.faithfulness(
                pipeline.model,
                pipeline.packer,
                [texts[i] for i in sorted(chosen)],
                steps=wanted.attribution_steps,
                seed=seed,
                progress=progress,
            )
    return result


def _score(
    recipe: Recipe,
    pipeline: TextPipeline,
    model: Any,
    log_seconds: float,
    cache: data.TokenCache | None,
    examples: data.Examples,
    name: str,
) -> dict[str, np.ndarray]:
    logger.info("scoring the %s part: %d texts", name, len(examples))
    rows = data.encode(pipeline.packer, examples.texts, cache=cache)
    with CountBar("batches", log_seconds) as progress:
        logits = score_rows(model, rows, recipe.train.tokens_per_batch, pipeline.packer.pad_id, progress)
    # By their whole length, whatever the model saw of it.
    tokens = pipeline.packer.tokenizer.tokenize(list(examples.texts)).row_lengths().numpy()
    return {"logits": logits, "labels": examples.labels, "lengths": tokens.astype(np.int64)}


def _score_uncleaned(
    score: Callable[[data.Examples, str], dict[str, np.ndarray]],
    splits: data.Splits,
    cleaned: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Score only the texts that have markup: the others are the same text."""
    raw = splits.test_raw
    places = [i for i, text in enumerate(raw.texts) if text != splits.test.texts[i]]
    result = {name: values.copy() for name, values in cleaned.items()}
    if places:
        for name, values in score(raw.select(places), "uncleaned test").items():
            result[name][places] = values
    return result


def _columns(scores: np.ndarray, count: int) -> np.ndarray:
    """Add the classes that the training part had no text of."""
    return np.pad(scores, ((0, 0), (0, count - scores.shape[1])))


def _drawings(
    kind: str, splits: data.Splits, scored: Mapping[str, np.ndarray], baseline: np.ndarray | None
) -> dict[str, Any]:
    if kind == "regression":
        chosen = np.linspace(0, len(scored["labels"]) - 1, min(500, len(scored["labels"]))).astype(int)
        actual, predicted = scored["labels"][chosen, 0], scored["logits"][chosen, 0]
        return {"scatter": {"actual": actual.tolist(), "predicted": predicted.tolist()}}
    scores = {"model": np.array(probabilities(scored["logits"], kind))}
    if baseline is not None:
        scores["baseline"] = baseline
    return {"curves": {name: evaluation.curves(p, scored["labels"], splits.class_names) for name, p in scores.items()}}


def _mistakes(wanted: JudgeRecipe, examples: data.Examples, scores: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "id": examples.ids[i],
            "text": examples.texts[i],
            "label": examples.class_names[examples.labels[i]],
            "predicted": examples.class_names[scores[i].argmax()],
            "probability": float(scores[i].max()),
        }
        for i in evaluation.worst_mistakes(scores, examples.labels, wanted.worst_mistakes)
    ]
