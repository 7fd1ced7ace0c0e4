"""Special and added tokens: found in the text before it is tokenized, as Hugging Face does."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_transformer.text.byte_level import SPACE_CLASS

# The names of the special tokens in Hugging Face's configuration, in the order in which it adds them.
SPECIAL_TOKEN_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text as it is written.

    Attributes:
        content: The text of the token.
        id: Its id.
        lstrip: It takes the white space before it.
        rstrip: It takes the white space after it.
        special: It is left out where special tokens are skipped.
    """

    content: str
    id: int
    lstrip: bool = False
    rstrip: bool = False
    special: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Returns the token as Hugging Face's `tokenizer_config.json` has it, but for the id."""
        return {
            "content": self.content,
            "lstrip": self.lstrip,
            "normalized": False,
            "rstrip": self.rstrip,
            "single_word": False,
            "special": self.special,
        }


def resolve(
    ids: Mapping[str, int],
    special_tokens: Mapping[str, str],
    added_tokens: Sequence[str | Mapping[str, Any]],
) -> list[AddedToken]:
    """Gives every special and added token its id and flags.

    Args:
        ids: The ids of the vocabulary.
        special_tokens: dict of "bos_token", ... to a token.
        added_tokens: Further tokens, or the flags of special ones: dicts of "content" and, optionally, "id", "lstrip",
            "rstrip" and "special". Tokens that the vocabulary does not have get the ids after it, in this order.

    Returns:
        list of `AddedToken`, by id.

    Raises:
        ValueError: If a name, a flag or an id cannot be used.
    """
    unknown = set(special_tokens) - set(SPECIAL_TOKEN_KEYS)
    if unknown:
        raise ValueError(f"special_tokens may name {', '.join(SPECIAL_TOKEN_KEYS)}. Received: {sorted(unknown)}.")
    wanted = {}
    for token in added_tokens:
        token = {"content": token} if isinstance(token, str) else dict(token)
        if not isinstance(token.get("content"), str) or not token["content"]:
            raise ValueError(f"An added token is a dict with its text under 'content'. Received: {token}.")
        if token.get("single_word"):
            raise ValueError(
                f"An added token with single_word=True cannot be found in the graph. Received: {token['content']!r}. "
                "Set it to false if the token may stand inside a word."
            )
        wanted[token["content"]] = token
    for key in SPECIAL_TOKEN_KEYS:
        if key in special_tokens:
            wanted.setdefault(special_tokens[key], {"content": special_tokens[key]})["special"] = True
    resolved, following = [], len(ids)
    for content, token in wanted.items():
        index = ids.get(content)
        if index is None:
            index, following = following, following + 1
        if token.get("id", index) != index:
            raise ValueError(
                f"An added token has the id of the vocabulary, or the next one after it. Received: {content!r} with "
                f"id {token['id']}, where {index} is its place."
            )
        flags = {key: bool(token[key]) for key in ("lstrip", "rstrip", "special") if key in token}
        resolved.append(AddedToken(content, index, **flags))
    return sorted(resolved, key=lambda token: token.id)


class AddedTokenSplitter(tf.Module):
    """Cuts texts at the tokens that are written in them.

    Args:
        tokens: The tokens; of several that begin at one place, the longest is found.

    Raises:
        ValueError: If one token takes white space that another one begins or ends with.
    """

    def __init__(self, tokens: Sequence[AddedToken]):
        super().__init__(name="added_token_splitter")
        patterns = []
        strip = next((token.content for token in tokens if token.lstrip or token.rstrip), None)
        blank = next((token.content for token in tokens if token.content != token.content.strip()), None)
        if strip is not None and blank is not None:
            raise ValueError(
                f"An added token that takes the white space beside it cannot stand together with one that begins or "
                f"ends with white space. Received: {strip!r} and {blank!r}."
            )
        for token in sorted(tokens, key=lambda token: -len(token.content)):
            before, after = (f"{SPACE_CLASS}*" if strip else "" for strip in (token.lstrip, token.rstrip))
            patterns.append(before + re.escape(token.content) + after)
        self._pattern = "|".join(patterns)
        with tf.init_scope():
            self._contents = tf.constant([token.content for token in tokens], tf.string)
            self._strips = tf.constant([token.lstrip or token.rstrip for token in tokens], tf.bool)
            self._ids = tf.constant([token.id for token in tokens], tf.int32)

    def split(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.Tensor]:
        """Cuts texts.

        Args:
            texts: (batch,) string.

        Returns:
            pieces, (batch, None) string ragged; where each begins in its text in bytes, (batch, None) int32 ragged; and
            the id of the token that each flat piece is, (pieces,) int32, -1 for plain text.
        """
        if not self._pattern:
            pieces = tf.RaggedTensor.from_tensor(texts[:, None])
            return pieces, tf.zeros_like(pieces, tf.int32), tf.fill([tf.shape(texts)[0]], -1)
        marked = tf.strings.regex_replace(texts, f"({self._pattern})", tf.constant(_EDGE + b"\\1" + _EDGE))
        pieces = tf.strings.split(marked, _EDGE)
        # Plain text and tokens take turns; plain text may be empty.
        flat, rows = pieces.values, pieces.value_rowids()
        index = tf.range(tf.size(flat, tf.int64)) - tf.gather(pieces.row_splits, rows)
        stripped = flat
        for edge in (f"^{SPACE_CLASS}+", f"{SPACE_CLASS}+$"):
            stripped = tf.strings.regex_replace(stripped, edge, "")
        same = tf.equal(tf.where(self._strips, stripped[:, None], flat[:, None]), self._contents)
        ids = tf.reduce_max(tf.where(same, self._ids, -1), axis=1)
        ids = tf.where(tf.equal(index % 2, 1), ids, -1)
        ends = tf.concat([[0], tf.cumsum(tf.strings.length(flat))], 0)
        begins = ends[:-1] - tf.gather(tf.gather(ends, pieces.row_splits), rows)
        return pieces, pieces.with_values(begins), ids


# No text in UTF-8 has this byte.
_EDGE = b"\xff"
