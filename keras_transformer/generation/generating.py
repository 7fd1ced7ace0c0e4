"""`generate` and `stream`: a compiled loop, and a compiled step."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_transformer import ops
from keras_transformer.generation.beam_loop import BeamLoop
from keras_transformer.generation.config import GenerationConfig
from keras_transformer.generation.decoding import Decoding
from keras_transformer.generation.prompts import prepare
from keras_transformer.generation.samplers import BeamSearch
from keras_transformer.generation.token_loop import TokenLoop
from keras_transformer.ops.compilation import is_compiled_elementwise
from keras_transformer.ops.precision import product_dtype


@dataclasses.dataclass(frozen=True)
class GeneratedTokens:
    """What `generate` returns; with `BeamSearch`, `num_return_sequences` rows a prompt, best first.

    Args:
        token_ids: Int32 array of shape (rows, max_new_tokens): the new tokens, then `pad_token_id`.
        lengths: Int32 array of shape (rows,): number of new tokens, a stop token included.
        scores: Float32 array of shape (rows,): log-probability of the new tokens under the distribution that they were
            chosen from; with `BeamSearch` divided by length ** length_penalty.
    """

    token_ids: np.ndarray
    lengths: np.ndarray
    scores: np.ndarray

    def to_lists(self) -> list[list[int]]:
        """Returns the new tokens of every row, without padding."""
        return [row[:length].tolist() for row, length in zip(self.token_ids, self.lengths, strict=True)]


def generate(
    model: Any, prompts: Any, config: GenerationConfig | None = None, *, padding_mask: Any = None, **options: Any
) -> GeneratedTokens:
    """Continues prompts, or answers texts, in one compiled loop with a cache.

    It is compiled once for every configuration, batch size and length (rounded up to a multiple of 16) of the prompts.
    A row stops at a stop token; the loop ends when all rows have stopped.

    With `model.jit_compile = True` XLA compiles it: some seconds more for the first call of each kind, less time for
    every further one (`docs/benchmarks.md`). Under JAX it always does.

    Args:
        model: `TransformerDecoder` or `TransformerEncoderDecoder`.
        prompts: Token ids: a list of rows of any lengths, a ragged tensor, or an integer array of shape
            (batch, length). For an encoder-decoder what the encoder reads.
        config: `GenerationConfig`; None means the defaults.
        padding_mask: For an array of prompts: boolean or 0/1 of shape (batch, length), 1 = a real token, wherever it
            stands in its row.
        **options: Fields of `GenerationConfig` that replace those of `config`.

    Returns:
        GeneratedTokens.

    Raises:
        ValueError: For a model without a decoder, unknown options, empty prompts, ids outside the vocabulary, or more
            tokens than the model has positions.

    Example:
        ```python
        from keras_transformer.generation import Sample, generate
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import DecoderConfig, TransformerDecoder

        model = TransformerDecoder(
            DecoderConfig(
                vocabulary_size=50, hidden_dim=16, num_layers=2, position="rotary", residual="pre_norm",
                attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=32),
            )
        )
        result = generate(model, [[5, 8, 9], [7]], max_new_tokens=4, stop_token_ids=2)
        assert result.token_ids.shape == (2, 4)
        sampler = Sample(temperature=0.8, top_p=0.9, seed=1)
        first, again = (generate(model, [[5, 8]], max_new_tokens=4, sampler=sampler).to_lists() for _ in range(2))
        assert first == again
        ```
    """
    config = GenerationConfig.of(config, options)
    decoding = Decoding(model)
    inputs = prepare(decoding, config, prompts, padding_mask)
    run = _compiled(model, ("generate", config.without_seed()), lambda key: whole_loop(decoding, key[1]))
    outputs = run(_tensors(inputs, config))
    return GeneratedTokens(**{name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()})


def stream(model: Any, prompt: Any, config: GenerationConfig | None = None, **options: Any) -> Iterator[int]:
    """Yields the new tokens of one prompt as they are made: those of `generate`, a stop token included.

    Args:
        model: As for `generate`.
        prompt: Integer list or array of shape (length,).
        config: As for `generate`; not with `BeamSearch`, which knows its first token only at the end.
        **options: As for `generate`.

    Returns:
        Iterator of ints.

    Raises:
        ValueError: As `generate`, when it is called, not when it is first iterated.

    Example:
        ```python
        from keras_transformer.generation import generate, stream
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import DecoderConfig, TransformerDecoder

        model = TransformerDecoder(
            DecoderConfig(
                vocabulary_size=50, hidden_dim=16, num_layers=2,
                attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=32),
            )
        )
        tokens = list(stream(model, [5, 8], max_new_tokens=4))
        assert tokens == generate(model, [[5, 8]], max_new_tokens=4).to_lists()[0]
        ```
    """
    config = GenerationConfig.of(config, options)
    if isinstance(config.sampler, BeamSearch):
        raise ValueError(
            "A beam search knows its first token only at the end: use generate, or stream with Greedy() or "
            f"Sample(...). Received: sampler={config.sampler!r}"
        )
    decoding = Decoding(model)
    row = np.asarray(prompt)
    if row.ndim != 1:
        raise ValueError(f"stream takes one prompt, [5, 8] say. Received: shape={row.shape}")
    inputs = _tensors(prepare(decoding, config, [row]), config)
    key = config.without_seed()
    start = _compiled(model, ("start", key), lambda key: TokenLoop(decoding, key[1]).start)
    advance = _compiled(model, ("advance", key), lambda key: TokenLoop(decoding, key[1]).advance)
    return _tokens(start, advance, inputs, config.max_new_tokens)


def _tokens(start: Callable, advance: Callable, inputs: dict, max_new_tokens: int) -> Iterator[int]:
    state = start(inputs)
    for step in range(max_new_tokens):
        if step:
            state = advance(state)
        token_ids = state["token_ids"]
        yield int(token_ids[0, token_ids.shape[1] - max_new_tokens + step])
        if bool(state["finished"][0]):
            return


def whole_loop(decoding: Decoding, config: GenerationConfig) -> Callable[[dict], dict]:
    """Returns the function from inputs to new tokens, not yet compiled.

    Args:
        decoding: Decoding.
        config: GenerationConfig.

    Returns:
        Function from the inputs of `TokenLoop.start` or `BeamLoop.start` to what their `result` returns.
    """
    loop = (BeamLoop if isinstance(config.sampler, BeamSearch) else TokenLoop)(decoding, config)

    def run(inputs: dict) -> dict:
        state = loop.start(inputs)
        if config.max_new_tokens > 1:
            (state,) = keras.ops.while_loop(loop.goes_on, lambda state: (loop.advance(state),), (state,))
        return loop.result(state)

    return run


def _compiled(model: Any, key: tuple, create: Callable) -> Callable:
    """Returns a compiled function of a model; one for each key in the model's life."""
    # Past Keras's own __setattr__, which would take them for parts of the model.
    functions = vars(model).setdefault("_generation_functions", {})
    jit_compile = bool(model.jit_compile)
    # What surrounds the first call is traced into the function.
    place = (*key, product_dtype(), is_compiled_elementwise(), jit_compile)
    if place not in functions:
        functions[place] = ops.compiled(create(key), model.variables, jit_compile=jit_compile)
    return functions[place]


def _tensors(inputs: dict, config: GenerationConfig) -> dict:
    """Returns the inputs as tensors, with the seed of the sampler."""
    if hasattr(config.sampler, "seed"):
        # Python's generator, which keras.utils.set_random_seed seeds.
        inputs = inputs | {"seed": random.randrange(2**31) if config.seed is None else config.seed}
    return {name: keras.ops.convert_to_tensor(value, "int32") for name, value in inputs.items()}
