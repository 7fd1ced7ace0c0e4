"""Greedy decoding and sampling: one token of every row at a time, until all rows have stopped."""

from keras import ops

from keras_transformer.generation.config import GenerationConfig
from keras_transformer.generation.decoding import Decoding
from keras_transformer.generation.processors import TokensSoFar, is_one_of


class TokenLoop:
    """The parts of a loop that chooses one token at a time; `generating` and `exporting` put them together.

    Args:
        decoding: Decoding.
        config: GenerationConfig with `Greedy` or `Sample`.
    """

    def __init__(self, decoding: Decoding, config: GenerationConfig):
        self._decoding = decoding
        self._config = config

    def start(self, inputs: dict) -> dict:
        """Reads the prompts and chooses the first token.

        Args:
            inputs: As for `Decoding.first_tokens`, and `seed`, an int32 scalar, for a sampler that draws.

        Returns:
            State, a dict of tensors: `token_ids`, int32 of shape (batch, prompt_length + max_new_tokens); `is_prompt`,
            boolean of the same shape; `step`, the number of new tokens; `finished`, `lengths` and `scores` of shape
            (batch,); the decoder's `memory`; `seed`.
        """
        new = self._config.max_new_tokens
        token_ids, padding_mask = self._decoding.first_tokens(inputs, self._config.start_token_id)
        logits, memory = self._decoding.prefill(inputs, token_ids, padding_mask, new - 1)
        batch = ops.shape(token_ids)[0]
        state = {
            "token_ids": ops.pad(token_ids, ((0, 0), (0, new)), constant_values=self._config.pad_token_id),
            "is_prompt": ops.cast(ops.pad(padding_mask, ((0, 0), (0, new))), "bool"),
            "step": ops.zeros((), "int32"),
            "finished": ops.zeros((batch,), "bool"),
            "lengths": ops.zeros((batch,), "int32"),
            "scores": ops.zeros((batch,), "float32"),
            "memory": memory,
            "seed": inputs.get("seed", ops.zeros((), "int32")),
        }
        return self._choose(logits, state)

    def advance(self, state: dict) -> dict:
        """Reads the last token and chooses the next."""
        index = self._prompt_length(state) + state["step"] - 1
        logits, memory = self._decoding.step(self._place(state["token_ids"], index), state["memory"], index)
        return self._choose(logits, state | {"memory": memory})

    def goes_on(self, state: dict):
        """Says whether another token is to be made, a boolean scalar."""
        return ops.logical_and(state["step"] < self._config.max_new_tokens, ops.any(~state["finished"]))

    def result(self, state: dict) -> dict:
        """Returns `token_ids` of shape (batch, max_new_tokens), `lengths` and `scores` of shape (batch,)."""
        new = state["token_ids"][:, self._prompt_length(state) :]
        return {
            "token_ids": ops.reshape(new, (-1, self._config.max_new_tokens)),
            "lengths": state["lengths"],
            "scores": state["scores"],
        }

    def _choose(self, logits, state: dict) -> dict:
        start, step, finished = self._prompt_length(state), state["step"], state["finished"]
        places = ops.expand_dims(ops.arange(ops.shape(state["token_ids"])[1], dtype="int32"), 0)
        is_new = ops.logical_and(places >= start, places < start + step)
        tokens = TokensSoFar(state["token_ids"], ops.logical_or(state["is_prompt"], is_new), step)
        for processor in self._config.processors:
            logits = processor(logits, tokens)
        chosen = self._config.sampler.choose(logits, ops.stack([state["seed"], step]))
        scores = ops.take_along_axis(ops.log_softmax(logits, axis=-1), ops.expand_dims(chosen, 1), axis=1)[:, 0]
        chosen = ops.where(finished, self._config.pad_token_id, chosen)
        return state | {
            "token_ids": ops.slice_update(state["token_ids"], (0, start + step), ops.expand_dims(chosen, 1)),
            "step": step + 1,
            "finished": ops.logical_or(finished, is_one_of(chosen, self._config.stop_token_ids)),
            "lengths": state["lengths"] + ops.cast(~finished, "int32"),
            "scores": state["scores"] + ops.where(finished, 0.0, scores),
        }

    def _prompt_length(self, state: dict):
        return ops.shape(state["token_ids"])[1] - self._config.max_new_tokens

    @staticmethod
    def _place(token_ids, index):
        """Returns the tokens of one place, int32 of shape (rows,)."""
        return ops.slice(token_ids, (0, index), (ops.shape(token_ids)[0], 1))[:, 0]
