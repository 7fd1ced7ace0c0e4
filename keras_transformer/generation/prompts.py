"""Checks and pads prompts, before anything is compiled."""

from typing import Any

import numpy as np

from keras_transformer.generation.config import GenerationConfig
from keras_transformer.generation.decoding import Decoding

# Lengths are padded to multiples of this: prompts of about the same length share one compiled function.
MULTIPLE = 16


def prepare(decoding: Decoding, config: GenerationConfig, prompts: Any, padding_mask: Any = None) -> dict:
    """Turns prompts into the inputs of a loop.

    Args:
        decoding: Decoding.
        config: GenerationConfig.
        prompts: Token ids: a list of rows of any lengths, a ragged tensor, or an integer array of shape
            (batch, length).
        padding_mask: For an array: 1 = a real token, wherever it stands in its row; None means that all are.

    Returns:
        Dict of int32 arrays; see `Decoding.first_tokens`. Prompts of a decoder have their padding first, texts for an
        encoder have it last.

    Raises:
        ValueError: For anything that the model could not continue.
    """
    check_config(decoding, config)
    rows = _rows(prompts, padding_mask)
    vocabulary = decoding.encoder_vocabulary_size if decoding.has_encoder else decoding.vocabulary_size
    for number, row in enumerate(rows):
        if not row.size:
            raise ValueError(
                f"Every prompt needs at least one token; a start token, say. Received: prompt {number} is empty"
            )
        wrong = row[(row < 0) | (row >= vocabulary)]
        if wrong.size:
            raise ValueError(
                f"Token ids must be in [0, {vocabulary}), the vocabulary of the model. "
                f"Received: {wrong[0]} in prompt {number}"
            )
    longest = max(row.size for row in rows)
    length = -(-longest // MULTIPLE) * MULTIPLE
    if decoding.has_encoder:
        limit = decoding.encoder_positions
        if limit is not None and longest > limit:
            raise ValueError(
                f"The encoder has {limit} positions. Truncate the text. Received: a prompt of {longest} tokens"
            )
        ids, mask = _padded(rows, length if limit is None else min(length, limit), first=False)
        return {"encoder_token_ids": ids, "encoder_padding_mask": mask}
    check_length(decoding, longest, config.max_new_tokens)
    ids, mask = _padded(rows, length, first=True)
    return {"token_ids": ids, "padding_mask": mask}


def check_config(decoding: Decoding, config: GenerationConfig) -> None:
    """Raises ValueError for options that do not fit the model."""
    if decoding.has_encoder and config.start_token_id is None:
        raise ValueError(
            "The decoder behind an encoder needs a token to start with: pass start_token_id. Received: None"
        )
    if not decoding.has_encoder and config.start_token_id is not None:
        raise ValueError(
            "A decoder goes on from its prompt: put the start token there and leave out start_token_id. "
            f"Received: start_token_id={config.start_token_id}"
        )
    names = ("pad_token_id", "start_token_id", "first_token_id", "last_token_id")
    named = [(name, getattr(config, name)) for name in names]
    for name, value in named + [("stop_token_ids", stop) for stop in config.stop_token_ids]:
        if value is not None and value >= decoding.vocabulary_size:
            raise ValueError(
                f"{name} must be in [0, {decoding.vocabulary_size}), the vocabulary of the model. Received: {value}"
            )
    if decoding.has_encoder:
        check_length(decoding, 1, config.max_new_tokens)


def check_length(decoding: Decoding, length: int, max_new_tokens: int) -> None:
    """Raises ValueError for more tokens than the decoder's table has positions; the last one is never read."""
    limit = decoding.positions
    if limit is not None and length + max_new_tokens - 1 > limit:
        raise ValueError(
            f"The decoder has {limit} positions. Shorten the prompt to {max(limit - max_new_tokens + 1, 0)} tokens, or "
            f"lower max_new_tokens. Received: a prompt of {length} tokens and max_new_tokens={max_new_tokens}"
        )


def _rows(prompts: Any, padding_mask: Any) -> list[np.ndarray]:
    """Returns one array of token ids for each prompt."""
    if hasattr(prompts, "to_list"):
        prompts = prompts.to_list()
    if not isinstance(prompts, list | tuple):
        prompts = np.asarray(prompts)
        if prompts.ndim != 2:
            raise ValueError(f"An array of prompts must have shape (batch, length). Received: shape={prompts.shape}")
    elif padding_mask is not None:
        prompts = _as_array(prompts)
    if not len(prompts):
        raise ValueError("Pass at least one prompt. Received: none")
    rows = [_row(row, number) for number, row in enumerate(prompts)]
    if padding_mask is None:
        return rows
    mask = np.asarray(padding_mask)
    if mask.shape != prompts.shape or not (mask.dtype == bool or np.isin(mask, (0, 1)).all()):
        raise ValueError(
            "padding_mask must be boolean or 0/1, of the shape of the prompts "
            f"{prompts.shape}. Received: dtype={mask.dtype}, shape={mask.shape}"
        )
    return [row[kept.astype(bool)] for row, kept in zip(rows, mask, strict=True)]


def _as_array(prompts) -> np.ndarray:
    lengths = {len(row) if hasattr(row, "__len__") else None for row in prompts}
    if len(lengths) != 1 or None in lengths:
        raise ValueError("padding_mask belongs to prompts of one length; rows of unequal length need none.")
    return np.asarray(prompts)


def _row(row: Any, number: int) -> np.ndarray:
    array = np.asarray(row)
    if array.ndim != 1:
        raise ValueError(
            "Prompts must be rows of token ids, [[5, 8], [7]] say, also for a single one. "
            f"Received: prompt {number} has {array.ndim} axes"
        )
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"Token ids must be integers. Received: dtype {array.dtype} in prompt {number}")
    return array.astype(np.int64)


def _padded(rows: list[np.ndarray], length: int, first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids and mask, int32 of shape (batch, length), with the padding first or last."""
    ids, mask = np.zeros((2, len(rows), length), "int32")
    for number, row in enumerate(rows):
        place = slice(length - row.size, None) if first else slice(row.size)
        ids[number, place] = row
        mask[number, place] = 1
    return ids, mask
