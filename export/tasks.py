"""What a SavedModel serves for each kind of model, and how each signature is checked: a further task plugs in here."""

import dataclasses
from collections.abc import Callable
from typing import Any

from . import differences, signatures
from .functions import (
    classify_function,
    example_specs,
    regress_function,
    text_function,
    text_specs,
    token_function,
    token_specs,
)
from .saved_model import Parts, Signature
from .signatures import CLASSIFY, EMBED, EMBEDDING, LOGITS, REGRESS, SERVING, TEXT_LOGITS, TOKENS, Contract


@dataclasses.dataclass(frozen=True)
class Task:
    """The signatures of one kind of model.

    Args:
        signatures: Function of `Parts` that returns the signatures by name; `serving_default` must be one of them.
        comparisons: Function of the `Contract` that returns, for each of those names, the function that compares: of
            the loaded signature (a function of named arrays), the contract, the check rows (`checks.read_checks`) and
            the tolerance, it returns the largest difference, infinity for a wrong answer.
    """

    signatures: Callable[[Parts], dict[str, Signature]]
    comparisons: Callable[[Contract], dict[str, Callable[..., float]]]


TASKS: dict[str, Task] = {}
"""Kind of a model -> its task."""


def register_task(kind: str, task: Task, outputs: tuple[str, ...]) -> None:
    """Makes a further kind of model known to the export.

    Args:
        kind: str, the `kind` of the pipeline and of the `Contract`.
        task: `Task`.
        outputs: Names of the outputs of `serving_default`.

    Raises:
        ValueError: If the kind is known already.

    Example:
        ```python
        from keras_transformer.export import tasks
        from keras_transformer.export.functions import text_function, text_specs
        from keras_transformer.export.saved_model import Signature

        def signatures(parts):
            def serve(logits):
                return {"best": logits[:, 0]}

            return {"serving_default": Signature(text_function(parts.score, parts.packer, serve), text_specs())}

        def difference(run, contract, checks, tolerance):
            best = run(text=[row["text"] for row in checks])["best"]
            return max(abs(value - row["logits"][0]) for value, row in zip(best, checks))

        task = tasks.Task(signatures, lambda contract: {"serving_default": difference})
        tasks.register_task("first_logit", task, outputs=("best",))
        assert tasks.task_of("first_logit") is task
        tasks.unregister_task("first_logit")
        ```
    """
    if kind in TASKS:
        raise ValueError(f"There is a task for this kind already. Received: {kind!r}")
    TASKS[kind] = task
    signatures.OUTPUTS.setdefault(kind, outputs)


def unregister_task(kind: str) -> None:
    """Forgets what `register_task` added.

    Args:
        kind: str, the kind.
    """
    TASKS.pop(kind)
    signatures.OUTPUTS.pop(kind)


def task_of(kind: str) -> Task:
    """Returns the task of a kind of model.

    Args:
        kind: str, the kind.

    Raises:
        ValueError: If there is none.
    """
    if kind not in TASKS:
        raise ValueError(
            f"No signatures are known for this kind of model, only for {', '.join(TASKS)}. Received: {kind!r}"
        )
    return TASKS[kind]


def _common(parts: Parts) -> dict[str, Signature]:
    score, packer, contract = parts.score, parts.packer, parts.contract
    return {
        SERVING: Signature(text_function(score, packer, contract.serve), text_specs()),
        TOKENS: Signature(token_function(score, contract), token_specs(None, None)),
        TEXT_LOGITS: Signature(text_function(score, packer, lambda logits: {LOGITS: logits}), text_specs()),
        EMBED: Signature(text_function(parts.embed, packer, lambda vectors: {EMBEDDING: vectors}), text_specs()),
    }


def _common_comparisons() -> dict[str, Callable[..., float]]:
    return {
        SERVING: differences.served_difference,
        TOKENS: differences.padded_token_difference,
        TEXT_LOGITS: differences.logits_difference,
        EMBED: differences.embedding_difference,
    }


def _classification(parts: Parts) -> dict[str, Signature]:
    function = classify_function(parts.score, parts.packer, parts.contract)
    return _common(parts) | {CLASSIFY: Signature(function, example_specs(), "classify")}


def _regression(parts: Parts) -> dict[str, Signature]:
    if not _regresses(parts.contract):
        return _common(parts)
    function = regress_function(parts.score, parts.packer, parts.contract)
    return _common(parts) | {REGRESS: Signature(function, example_specs(), "regress")}


def _regresses(contract: Contract) -> bool:
    """The Regress API has one number for each example: a model of several has only Predict."""
    return len(contract.class_names) == 1


def _classification_comparisons(contract: Contract) -> dict[str, Any]:
    return _common_comparisons() | {CLASSIFY: differences.classify_difference}


def _regression_comparisons(contract: Contract) -> dict[str, Any]:
    return _common_comparisons() | ({REGRESS: differences.regress_difference} if _regresses(contract) else {})


for _kind in ("single_label", "multi_label"):
    register_task(_kind, Task(_classification, _classification_comparisons), signatures.OUTPUTS[_kind])
register_task("regression", Task(_regression, _regression_comparisons), signatures.OUTPUTS["regression"])
