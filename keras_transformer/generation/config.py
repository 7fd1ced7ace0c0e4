"""What to generate: lengths, stop tokens, penalties, and the sampler."""

import dataclasses
import difflib
import numbers
from typing import Any, Self

from keras_transformer.generation.checks import check_integer, check_number
from keras_transformer.generation.processors import ForcedToken, MinNewTokens, RepetitionPenalty
from keras_transformer.generation.samplers import BeamSearch, Greedy, Sample

SAMPLERS = (Greedy, Sample, BeamSearch)


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """The options of `generate`, `stream` and `export_function`, which also take them one by one.

    Args:
        max_new_tokens: Most tokens to make for a prompt. Default 64.
        sampler: `Greedy()` (default), `Sample(...)` or `BeamSearch(...)`.
        stop_token_ids: Token or tokens that end a row; the stop token belongs to the result. Default none.
        min_new_tokens: Number of tokens before a stop token may come. Default 0.
        repetition_penalty: See `RepetitionPenalty`. Default 1, which changes nothing.
        pad_token_id: Fills the result behind the end of a row. Default 0.
        start_token_id: First token of the decoder of a `TransformerEncoderDecoder`, which needs it.
        first_token_id: The first new token, whatever the model says, as some of BART's need it. Default: none.
        last_token_id: The token at the last of `max_new_tokens` places, whatever the model says. Default: none.
        logits_processors: Further processors, applied after the penalty and before those of the sampler.

    Raises:
        ValueError: For a value out of range.

    Example:
        ```python
        from keras_transformer.generation import GenerationConfig, Sample

        config = GenerationConfig(max_new_tokens=20, sampler=Sample(top_p=0.9), stop_token_ids=[2, 3])
        assert config.stop_token_ids == (2, 3)
        ```
    """

    max_new_tokens: int = 64
    sampler: Greedy | Sample | BeamSearch = dataclasses.field(default_factory=Greedy)
    stop_token_ids: tuple[int, ...] = ()
    min_new_tokens: int = 0
    repetition_penalty: float = 1.0
    pad_token_id: int = 0
    start_token_id: int | None = None
    first_token_id: int | None = None
    last_token_id: int | None = None
    logits_processors: tuple = ()

    def __post_init__(self) -> None:
        check_integer("max_new_tokens", self.max_new_tokens, 1)
        if not isinstance(self.sampler, SAMPLERS):
            raise ValueError(f"sampler must be Greedy(), Sample(...) or BeamSearch(...). Received: {self.sampler!r}")
        stops = self.stop_token_ids
        stops = (stops,) if isinstance(stops, numbers.Integral) else tuple(stops if stops is not None else ())
        for stop in stops:
            check_integer("stop_token_ids", stop, 0)
        object.__setattr__(self, "stop_token_ids", tuple(int(stop) for stop in stops))
        check_integer("min_new_tokens", self.min_new_tokens, 0)
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                "min_new_tokens must not exceed max_new_tokens. Received: "
                f"min_new_tokens={self.min_new_tokens}, max_new_tokens={self.max_new_tokens}"
            )
        check_number("repetition_penalty", self.repetition_penalty, above=0)
        check_integer("pad_token_id", self.pad_token_id, 0)
        for name in ("start_token_id", "first_token_id", "last_token_id"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 0)
        object.__setattr__(self, "logits_processors", tuple(self.logits_processors))
        for processor in self.logits_processors:
            if not callable(processor) or isinstance(processor, type) or not _is_hashable(processor):
                raise ValueError(
                    "A logits processor must be callable and hashable: a frozen dataclass with __call__(logits, "
                    f"tokens). Received: {processor!r}"
                )

    @classmethod
    def of(cls, config: Self | None, options: dict[str, Any]) -> Self:
        """Returns a config with some fields replaced.

        Args:
            config: GenerationConfig, or None for the defaults.
            options: Fields by name.

        Raises:
            ValueError: For an unknown field.
        """
        if config is not None and not isinstance(config, cls):
            raise ValueError(f"config must be a GenerationConfig; options go by name. Received: {config!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"There is no option {name!r}.{hint} Known options: {', '.join(known)}.")
        return dataclasses.replace(config or cls(), **options)

    @property
    def processors(self) -> tuple:
        """All logits processors, in the order in which they are applied."""
        penalty = () if self.repetition_penalty == 1 else (RepetitionPenalty(self.repetition_penalty),)
        minimum = (
            (MinNewTokens(self.min_new_tokens, self.stop_token_ids),)
            if self.min_new_tokens and self.stop_token_ids
            else ()
        )
        forced = ((self.first_token_id, 0), (self.last_token_id, self.max_new_tokens - 1))
        forced = (ForcedToken(token, place) for token, place in forced if token is not None)
        return (*penalty, *minimum, *forced, *self.logits_processors, *self.sampler.processors)

    @property
    def seed(self) -> int | None:
        """The sampler's seed, if it has one."""
        return getattr(self.sampler, "seed", None)

    def without_seed(self) -> Self:
        """Returns the config without the sampler's seed, which compiled functions receive as an argument."""
        if self.seed is None:
            return self
        return dataclasses.replace(self, sampler=dataclasses.replace(self.sampler, seed=None))


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
