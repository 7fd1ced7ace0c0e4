"""A `GenerationConfig` as JSON has it, and back."""

import dataclasses
from typing import Any

from keras_transformer.generation import processors
from keras_transformer.generation.config import SAMPLERS, GenerationConfig

_PROCESSORS = ("ForcedToken", "MinNewTokens", "MinP", "RepetitionPenalty", "Temperature", "TopK", "TopP")


def config_to_dict(config: GenerationConfig) -> dict[str, Any]:
    """Returns the options by name, as JSON has them.

    Args:
        config: GenerationConfig.

    Returns:
        Dict; samplers and processors become dicts of "class" and their arguments.

    Raises:
        ValueError: If the config has a processor of another package, of which JSON can hold no code.

    Example:
        ```python
        from keras_transformer.generation import GenerationConfig, Sample, config_from_dict, config_to_dict

        config = GenerationConfig(max_new_tokens=20, sampler=Sample(top_p=0.9), stop_token_ids=[2, 3])
        assert config_from_dict(config_to_dict(config)) == config
        ```
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for processor in config.logits_processors:
        if type(processor) is not getattr(processors, type(processor).__name__, None):
            raise ValueError(
                "Only processors of keras_transformer.generation can be saved: leave logits_processors out of the "
                f"pipeline's config, and pass them to generate. Received: {processor!r}"
            )
    return values | {
        "sampler": _to_dict(config.sampler),
        "stop_token_ids": list(config.stop_token_ids),
        "logits_processors": [_to_dict(processor) for processor in config.logits_processors],
    }


def config_from_dict(values: dict[str, Any]) -> GenerationConfig:
    """Returns the config that `config_to_dict` wrote.

    Args:
        values: Dict.

    Raises:
        ValueError: For an unknown option, sampler or processor.
    """
    values = dict(values)
    kinds = {cls.__name__: cls for cls in SAMPLERS}
    if "sampler" in values:
        values["sampler"] = _from_dict(values["sampler"], kinds)
    kinds = {name: getattr(processors, name) for name in _PROCESSORS}
    if "logits_processors" in values:
        values["logits_processors"] = [_from_dict(part, kinds) for part in values["logits_processors"]]
    return GenerationConfig.of(None, values)


def _to_dict(part: Any) -> dict[str, Any]:
    fields = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    return {"class": type(part).__name__} | {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def _from_dict(values: dict[str, Any], kinds: dict[str, type]) -> Any:
    values = dict(values)
    name = values.pop("class", None)
    if name not in kinds:
        raise ValueError(f"There are {', '.join(kinds)}. Received: {name!r}")
    return kinds[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
