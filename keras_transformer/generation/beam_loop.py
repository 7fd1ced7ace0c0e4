"""Beam search, with scores, length penalty and early stopping as Hugging Face defines them."""

from keras import ops

from keras_transformer.generation.config import GenerationConfig
from keras_transformer.generation.decoding import Decoding
from keras_transformer.generation.processors import TokensSoFar, is_one_of

IMPOSSIBLE = -1.0e9
"""Score of a place that holds no sequence yet; far below any sum of log-probabilities."""


class BeamLoop:
    """The parts of a beam search; `generating` and `exporting` put them together.

    Args:
        decoding: Decoding.
        config: GenerationConfig with `BeamSearch`.
    """

    def __init__(self, decoding: Decoding, config: GenerationConfig):
        self._decoding = decoding
        self._config = config
        self._search = config.sampler
        # If the best candidates all end with a stop token, so many running ones are left.
        self._num_candidates = max(2, 1 + len(config.stop_token_ids)) * self._search.num_beams

    def start(self, inputs: dict) -> dict:
        """Reads the prompts and begins the beams.

        Args:
            inputs: As for `Decoding.first_tokens`.

        Returns:
            State, a dict of tensors. Of the running sequences: `token_ids`, int32 of shape
            (batch, beams, prompt_length + max_new_tokens), `scores` (batch, beams), best first, and `parents`
            (batch, beams), the beam that each continues. Of the finished ones: `done_token_ids`, `done_scores`,
            `done_lengths`, and `done`, whether the place is taken. `is_open` (batch,): whether the running can still
            better the finished. `step`, `is_prompt` and the decoder's `memory`.
        """
        new, beams = self._config.max_new_tokens, self._search.num_beams
        token_ids, padding_mask = self._decoding.first_tokens(inputs, self._config.start_token_id)
        logits, memory = self._decoding.prefill(inputs, token_ids, padding_mask, new - 1)
        batch = ops.shape(token_ids)[0]
        token_ids = ops.pad(token_ids, ((0, 0), (0, new)), constant_values=self._config.pad_token_id)
        token_ids = ops.repeat(ops.expand_dims(token_ids, 1), beams, axis=1)
        is_prompt = ops.cast(ops.pad(padding_mask, ((0, 0), (0, new))), "bool")
        # All beams are alike at first: only one of them may be continued.
        only_first = ops.where(ops.arange(beams) == 0, 0.0, IMPOSSIBLE)
        state = {
            "token_ids": token_ids,
            "is_prompt": ops.repeat(is_prompt, beams, axis=0),
            "step": ops.zeros((), "int32"),
            "scores": ops.zeros((batch, 1), "float32") + ops.expand_dims(only_first, 0),
            "parents": ops.zeros((batch, beams), "int32") + ops.arange(beams, dtype="int32"),
            "done_token_ids": token_ids,
            "done_scores": ops.full((batch, beams), IMPOSSIBLE, "float32"),
            "done_lengths": ops.zeros((batch, beams), "int32"),
            "done": ops.zeros((batch, beams), "bool"),
            "is_open": ops.ones((batch,), "bool"),
            "memory": self._decoding.repeat(memory, beams),
        }
        return self._choose(ops.repeat(logits, beams, axis=0), state)

    def advance(self, state: dict) -> dict:
        """Reads the last token of every beam and continues the best."""
        batch, beams = ops.shape(state["parents"])[0], self._search.num_beams
        first_rows = ops.expand_dims(ops.arange(batch, dtype="int32") * beams, 1)
        memory = self._decoding.reorder(state["memory"], ops.reshape(state["parents"] + first_rows, (-1,)))
        index = self._prompt_length(state) + state["step"] - 1
        last = ops.slice(state["token_ids"], (0, 0, index), (batch, beams, 1))
        logits, memory = self._decoding.step(ops.reshape(last, (-1,)), memory, index)
        return self._choose(logits, state | {"memory": memory})

    def goes_on(self, state: dict):
        """Says whether any prompt is not done, a boolean scalar."""
        going = state["is_open"]
        if self._search.early_stopping is True:
            going = ops.logical_and(going, ~ops.all(state["done"], axis=1))
        return ops.logical_and(state["step"] < self._config.max_new_tokens, ops.any(going))

    def result(self, state: dict) -> dict:
        """Returns the best sequences of every prompt, one behind the other.

        Args:
            state: From `start` or `advance`.

        Returns:
            Dict of `token_ids`, int32 of shape (batch * num_return_sequences, max_new_tokens), and `lengths` and
            `scores` of shape (batch * num_return_sequences,).
        """
        best, new = self._search.num_return_sequences, self._config.max_new_tokens
        return {
            "token_ids": ops.reshape(state["done_token_ids"][:, :best, self._prompt_length(state) :], (-1, new)),
            "lengths": ops.reshape(state["done_lengths"][:, :best], (-1,)),
            "scores": ops.reshape(state["done_scores"][:, :best], (-1,)),
        }

    def _choose(self, logits, state: dict) -> dict:
        beams, vocabulary = self._search.num_beams, self._decoding.vocabulary_size
        log_probabilities = self._processed(ops.log_softmax(logits, axis=-1), state)
        totals = ops.reshape(log_probabilities, (-1, beams, vocabulary)) + ops.expand_dims(state["scores"], 2)
        totals = ops.reshape(totals, (-1, beams * vocabulary))
        scores, found = ops.top_k(totals, min(self._num_candidates, beams * vocabulary), sorted=True)
        found = ops.cast(found, "int32")
        parents, token = found // vocabulary, found % vocabulary
        candidates = ops.slice_update(
            _gather(state["token_ids"], parents),
            (0, 0, self._prompt_length(state) + state["step"]),
            ops.expand_dims(token, 2),
        )
        ends = is_one_of(token, self._config.stop_token_ids)
        ends = ops.logical_or(ends, state["step"] + 1 >= self._config.max_new_tokens)
        state = state | {"step": state["step"] + 1}
        state = state | self._finished(state, candidates, scores, ends)
        running, best = ops.top_k(ops.where(ends, scores + IMPOSSIBLE, scores), beams, sorted=True)
        state = state | {
            "token_ids": _gather(candidates, best),
            "scores": running,
            "parents": _gather(parents, best),
        }
        return state | {"is_open": self._is_open(state)}

    def _processed(self, log_probabilities, state: dict):
        """Applies the processors to log-probabilities, which are not normalised again."""
        length, start = ops.shape(state["token_ids"])[2], self._prompt_length(state)
        places = ops.expand_dims(ops.arange(length, dtype="int32"), 0)
        is_new = ops.logical_and(places >= start, places < start + state["step"])
        tokens = TokensSoFar(
            ops.reshape(state["token_ids"], (-1, length)), ops.logical_or(state["is_prompt"], is_new), state["step"]
        )
        for processor in self._config.processors:
            log_probabilities = processor(log_probabilities, tokens)
        return log_probabilities

    def _finished(self, state: dict, candidates, scores, ends) -> dict:
        """Adds candidates that have ended to the finished sequences, and keeps the best."""
        beams = self._search.num_beams
        # Those behind the first `beams` are there to go on running, not to be returned.
        accepts = state["is_open"]
        if self._search.early_stopping is True:
            accepts = ops.logical_and(accepts, ~ops.all(state["done"], axis=1))
        accepted = ops.logical_and(ends, ops.arange(ends.shape[1]) < beams)
        accepted = ops.logical_and(accepted, ops.expand_dims(accepts, 1))
        scores = ops.where(accepted, scores / self._divisor(state["step"]), IMPOSSIBLE)
        lengths = ops.zeros_like(accepted, dtype="int32") + state["step"]
        # Earlier ones stand first: a candidate that is no better does not replace them.
        pairs = {
            "done_token_ids": (state["done_token_ids"], candidates),
            "done_scores": (state["done_scores"], scores),
            "done_lengths": (state["done_lengths"], lengths),
            "done": (state["done"], accepted),
        }
        merged = {name: ops.concatenate(pair, axis=1) for name, pair in pairs.items()}
        _, best = ops.top_k(merged["done_scores"], beams, sorted=True)
        return {name: _gather(tensor, best) for name, tensor in merged.items()}

    def _is_open(self, state: dict):
        """Says for each prompt whether a running sequence can still better the worst of the finished."""
        search = self._search
        longest = search.early_stopping == "never" and search.length_penalty > 0
        length = ops.cast(self._config.max_new_tokens, "int32") if longest else state["step"]
        possible = state["scores"][:, 0] / self._divisor(length)
        worst = ops.min(ops.where(state["done"], state["done_scores"], IMPOSSIBLE), axis=1)
        return ops.logical_and(state["is_open"], possible > worst)

    def _divisor(self, length):
        return ops.power(ops.cast(length, "float32"), self._search.length_penalty)

    def _prompt_length(self, state: dict):
        return ops.shape(state["token_ids"])[2] - self._config.max_new_tokens


def _gather(tensor, indices):
    """Picks along the second axis: (batch, n, ...) and int32 (batch, m) -> (batch, m, ...)."""
    indices = ops.cast(indices, "int32")
    if len(tensor.shape) == 2:
        return ops.take_along_axis(tensor, indices, axis=1)
    indices = ops.expand_dims(indices, 2)
    shape = (ops.shape(indices)[0], ops.shape(indices)[1], ops.shape(tensor)[2])
    return ops.take_along_axis(tensor, ops.broadcast_to(indices, shape), axis=1)
