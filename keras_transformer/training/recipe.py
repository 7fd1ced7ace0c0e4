"""The Recipe: what defines a result, as nested frozen dataclasses with JSON, dotted overrides and an identity."""

import dataclasses
import hashlib
import json
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_transformer.training.fields import build, check_between, flatten, parse, suggest
from keras_transformer.training.pretrain_section import PretrainRecipe
from keras_transformer.training.sections import (
    DataRecipe,
    ExportRecipe,
    JudgeRecipe,
    ModelRecipe,
    OptimizerRecipe,
    TrainRecipe,
)
from keras_transformer.training.tasks import parse_tasks


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What defines the result of a run; where and when it ran belongs to run.json.

    Args:
        model: `ModelRecipe`.
        data: `DataRecipe`.
        pretrain: `PretrainRecipe`.
        optimizer: `OptimizerRecipe`.
        train: `TrainRecipe`.
        judge: `JudgeRecipe`.
        export: `ExportRecipe`.
        seed: int, of splits, weights, dropout and the order of the batches. Default 0.

    Example:

    ```python
    from keras_transformer.training import Recipe

    recipe = Recipe().override("train.epochs=2", "data.max_length=256")
    assert recipe.train.epochs == 2
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.identity() != Recipe().identity()
    ```
    """

    model: ModelRecipe = dataclasses.field(default_factory=ModelRecipe)
    data: DataRecipe = dataclasses.field(default_factory=DataRecipe)
    pretrain: PretrainRecipe = dataclasses.field(default_factory=PretrainRecipe)
    optimizer: OptimizerRecipe = dataclasses.field(default_factory=OptimizerRecipe)
    train: TrainRecipe = dataclasses.field(default_factory=TrainRecipe)
    judge: JudgeRecipe = dataclasses.field(default_factory=JudgeRecipe)
    export: ExportRecipe = dataclasses.field(default_factory=ExportRecipe)
    seed: int = 0

    def __post_init__(self) -> None:
        check_between("seed", self.seed, 0, 2**31 - 1, "[]")
        if self.train.tokens_per_batch < self.data.max_length:
            raise ValueError(
                "train.tokens_per_batch must be at least data.max_length, so that one text fits. "
                f"Received: tokens_per_batch={self.train.tokens_per_batch}, max_length={self.data.max_length}"
            )
        if self.pretrain.probe_examples and self.pretrain.model_kind != "encoder":
            raise ValueError(
                "pretrain.probe_examples is for the objectives of encoders. "
                f"Received: probe_examples={self.pretrain.probe_examples}, objective={self.pretrain.objective}"
            )
        train = self.train
        if self.optimizer.sparse_embeddings and (
            train.accumulation_steps > 1
            or self.model.freeze_word_vectors
            or not (train.ema_decay is None and train.frozen_layers is None and train.lora_rank is None)
        ):
            raise ValueError(
                "optimizer.sparse_embeddings does not go with train.accumulation_steps, ema_decay, frozen_layers, "
                f"lora_rank or model.freeze_word_vectors. Received: {train.accumulation_steps}, {train.ema_decay}, "
                f"{train.frozen_layers}, {train.lora_rank}, {self.model.freeze_word_vectors}"
            )
        stages = self.train.length_stages()
        if stages and stages[-1][0] >= self.data.max_length:
            raise ValueError(
                "The lengths of train.length_curriculum must be below data.max_length. "
                f"Received: {stages[-1][0]}, max_length={self.data.max_length}"
            )
        if stages and (self.data.truncation == "windows" or self.data.packing):
            raise ValueError(
                "train.length_curriculum cuts rows of one text: use data.truncation=head or head_tail without packing. "
                f"Received: truncation={self.data.truncation}, packing={self.data.packing}"
            )
        if self.model.kind != "single_label" and self.train.class_weights != "none":
            raise ValueError(
                "train.class_weights is for model.kind=single_label: other texts have no single class. "
                f"Received: kind={self.model.kind}, class_weights={self.train.class_weights!r}"
            )
        if self.model.kind == "regression" and (self.train.monitor == "accuracy" or self.train.label_smoothing):
            raise ValueError(
                "A regression has neither train.monitor=accuracy nor train.label_smoothing. "
                f"Received: monitor={self.train.monitor}, label_smoothing={self.train.label_smoothing}"
            )
        if self.data.tasks:
            self._check_tasks()

    def _check_tasks(self) -> None:
        weights = self.train.class_weights
        refused = {
            "pretrain.objective": self.pretrain.objective if self.pretrain.wanted else "",
            "train.length_curriculum": ",".join(self.train.length_curriculum),
            "train.class_weights": "" if weights in ("none", "balanced") else weights,
        }
        if any(refused.values()):
            raise ValueError(
                "data.tasks go neither with a pretraining in the same run (name what another one left as model.init) "
                "nor with train.length_curriculum or weights of single classes. "
                f"Received: {', '.join(f'{name}={value}' for name, value in refused.items() if value)}"
            )
        self.of_tasks()  # each is checked as a recipe of its own

    def of_tasks(self) -> dict[str, "Recipe"]:
        """Return the recipe of each of `data.tasks` by its name, as if it were alone; empty without them."""
        found = {}
        for name, task in parse_tasks(self.data.tasks).items():
            columns = {} if task.label_column is None else {"label_column": (task.label_column,)}
            columns |= {} if task.text_column is None else {"text_column": task.text_column}
            data = dataclasses.replace(self.data, tasks=(), source=task.source, **columns)
            model = dataclasses.replace(self.model, kind=task.kind or self.model.kind)
            found[name] = dataclasses.replace(self, data=data, model=model)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values, as they stand in recipe.json."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def to_json(self) -> str:
        """Return the text of recipe.json."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Build a recipe from nested values; what is left out keeps its default.

        Args:
            values: mapping as `to_dict` returns it, or a part of it.

        Raises:
            ValueError: If a key is unknown or a value has the wrong type or range.
        """
        return build(cls, values, "")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Recipe":
        """Read a recipe from a JSON file, such as the recipe.json of a run.

        Args:
            path: the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no valid recipe.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no recipe file of this name. Received: {path}")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a JSON file ({error}).") from error
        try:
            return cls.from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def override(self, *assignments: str) -> "Recipe":
        """Return a copy with some fields replaced.

        Args:
            *assignments: str, each `"section.field=value"`, such as `"train.epochs=2"`,
                `"data.bucket_lengths=64,128"` or `"optimizer.clip_norm=none"`.

        Raises:
            ValueError: If a key is unknown (similar ones are named) or the value does not fit the field.
        """
        values = self.to_dict()
        for assignment in assignments:
            key, separator, text = assignment.partition("=")
            key = key.strip()
            if not separator:
                raise ValueError(f"An override has the form section.field=value. Received: {assignment!r}")
            section, _, name = key.partition(".")
            annotation = self._annotation(key)
            value = parse(key, annotation, text.strip())
            if name:
                values[section][name] = value
            else:
                values[key] = value
        return type(self).from_dict(values)

    @classmethod
    def keys(cls) -> list[str]:
        """Return every dotted key that `override` accepts."""
        keys = []
        for field in dataclasses.fields(cls):
            if dataclasses.is_dataclass(field.type):
                keys += [f"{field.name}.{inner.name}" for inner in dataclasses.fields(field.type)]
            else:
                keys.append(field.name)
        return keys

    @classmethod
    def _annotation(cls, key: str) -> Any:
        if key not in cls.keys():
            raise ValueError(f"There is no recipe field {key!r}.{suggest(key, cls.keys())}")
        section, _, name = key.partition(".")
        hints = typing.get_type_hints(cls)
        return typing.get_type_hints(hints[section])[name] if name else hints[section]

    def identity(self) -> str:
        """Return 16 hexadecimal digits that are equal for equal recipes only."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def differences(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """Return `{dotted key: (value here, value in other)}` of the fields that differ."""
        mine, theirs = flatten(self.to_dict()), flatten(other.to_dict())
        return {key: (mine[key], theirs[key]) for key in mine if mine[key] != theirs[key]}
