"""The ids that an objective treats in another way than the tokens of a text, from any tokenizer."""

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from keras_transformer.text import TextPacker
    from keras_transformer.text.loading import Tokenizer

# Reserved by those who train vocabularies; no text has them, so none shall be drawn either.
_UNUSED = re.compile(r"\[unused\d+\]")
_SENTINEL = re.compile(r"<extra_id_(\d+)>")


@dataclasses.dataclass(frozen=True, eq=False)
class Specials:
    """Ids of a vocabulary by what they are for.

    Args:
        vocabulary_size: int, number of tokens that the model has.
        pad_id: int, fills rows.
        start_ids: ints, stand before a text, such as [CLS]. Default none.
        end_ids: ints, stand after a text, such as [SEP]. Default none.
        mask_id: int, hides a token, or None where there is no such token.
        sentinel_ids: ints, stand for the first, second, ... span that is left out of a text. Default none.
        decoder_start_id: int, what a decoder behind an encoder begins with. Default: the last of `end_ids` where there
            are `start_ids`, as BART, else `pad_id`, as T5.
        maskable: bool `(vocabulary_size,)`, ids that may be masked, and drawn at random in the place of others.
            Default: all but those named above.
        begins_word: bool `(vocabulary_size,)`, ids with which a word begins. Default: all.

    Raises:
        ValueError: if an id is none of the vocabulary, an array has another size, or no id may be masked.

    Example:
        ```python
        from keras_transformer.objectives import Specials
        from keras_transformer.text import WordPieceTokenizer

        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "##s"]
        specials = Specials.of(WordPieceTokenizer(vocabulary))
        assert (specials.start_ids, specials.end_ids, specials.mask_id) == ((2,), (3,), 4)
        assert specials.maskable.tolist() == [False] * 5 + [True] * 2 and not specials.begins_word[6]
        ```
    """

    vocabulary_size: int
    pad_id: int
    start_ids: tuple[int, ...] = ()
    end_ids: tuple[int, ...] = ()
    mask_id: int | None = None
    sentinel_ids: tuple[int, ...] = ()
    decoder_start_id: int | None = None
    maskable: np.ndarray | None = None
    begins_word: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Fill in the defaults, and check all."""

        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name in ("start_ids", "end_ids", "sentinel_ids"):
            put(name, tuple(int(index) for index in getattr(self, name)))
        if self.decoder_start_id is None:
            put("decoder_start_id", self.end_ids[-1] if self.start_ids and self.end_ids else self.pad_id)
        named = [self.pad_id, self.decoder_start_id, *self.start_ids, *self.end_ids, *self.sentinel_ids]
        named += [] if self.mask_id is None else [self.mask_id]
        wrong = [index for index in named if not 0 <= index < self.vocabulary_size]
        if wrong:
            raise ValueError(f"Ids must be from 0 to {self.vocabulary_size - 1}, the vocabulary. Received: {wrong}.")
        if self.maskable is None:
            maskable = np.ones(self.vocabulary_size, bool)
            maskable[named] = False
            put("maskable", maskable)
        if self.begins_word is None:
            put("begins_word", np.ones(self.vocabulary_size, bool))
        for name in ("maskable", "begins_word"):
            array = np.asarray(getattr(self, name), bool)
            if array.shape != (self.vocabulary_size,):
                raise ValueError(f"{name} must have shape ({self.vocabulary_size},). Received: shape {array.shape}.")
            put(name, array)
        if not self.maskable.any():
            raise ValueError(f"Some tokens must be maskable. Received: {self.vocabulary_size} tokens, all special.")

    @classmethod
    def of(
        cls, tokenizer: "Tokenizer | TextPacker", num_sentinels: int = 0, vocabulary_size: int | None = None
    ) -> "Specials":
        """Find the ids of a vocabulary.

        What stands before and after a text is the frame of the tokenizer's family, or that of the packer; where nothing
        stands after it, the end-of-text token does, if there is one. Special tokens and reserved ones (`[unused0]`) are
        not maskable. Words begin at tokens without "##" (WordPiece), with white space in front (byte-level BPE), or
        with "▁" (SentencePiece). Sentinels are `<extra_id_0>`, `<extra_id_1>`, ...

        Args:
            tokenizer: `WordPieceTokenizer`, `ByteLevelBPETokenizer`, `SentencePieceTokenizer`, or a `TextPacker` over
                one.
            num_sentinels: int, how many of the highest ids are sentinels, the highest one first, if the vocabulary has
                no `<extra_id_0>`. They must be reserved: no text may have them. Default 0.
            vocabulary_size: int, if the model shall have more tokens than the tokenizer, such as sentinels. Default:
                that of the tokenizer.

        Returns:
            `Specials`.

        Raises:
            ValueError: if the vocabulary is smaller than the tokenizer's, or the highest ids are special tokens.
        """
        from keras_transformer.text import TextPacker

        packer = tokenizer if isinstance(tokenizer, TextPacker) else TextPacker(tokenizer)
        tokenizer, frame = packer.tokenizer, packer.frame
        size = tokenizer.vocabulary_size if vocabulary_size is None else int(vocabulary_size)
        if size < tokenizer.vocabulary_size:
            raise ValueError(
                f"The tokenizer has {tokenizer.vocabulary_size} tokens, and the model can have no fewer. "
                f"Received: vocabulary_size={size}."
            )
        tokens, begins = _vocabulary(tokenizer)
        special = dict(tokenizer.special_tokens)
        reserved = {tokenizer.id_of(token) for token in special.values()}
        reserved |= {token["id"] for token in getattr(tokenizer, "added_tokens", ()) if token["special"]}
        reserved |= {index for index, token in enumerate(tokens) if _UNUSED.fullmatch(token)}
        sentinels = _sentinels(tokens)
        if not sentinels and num_sentinels:
            sentinels = tuple(range(size - 1, size - 1 - num_sentinels, -1))
            taken = sorted(reserved.intersection(sentinels))
            if taken or sentinels[-1] < 0:
                raise ValueError(
                    f"The highest ids must be free for sentinels: pass vocabulary_size={tokenizer.vocabulary_size} + "
                    f"num_sentinels. Received: num_sentinels={num_sentinels}, special tokens {taken[:5]} among them."
                )
        maskable = np.zeros(size, bool)
        maskable[: len(tokens)] = True
        maskable[list(reserved | set(sentinels))] = False
        words = np.zeros(size, bool)
        words[: len(tokens)] = begins
        after = frame.after or tuple(special[key] for key in ("eos_token",) if key in special)
        return cls(
            vocabulary_size=size,
            pad_id=packer.pad_id,
            start_ids=tuple(tokenizer.id_of(token) for token in frame.before),
            end_ids=tuple(tokenizer.id_of(token) for token in after),
            mask_id=tokenizer.id_of(special["mask_token"]) if "mask_token" in special else None,
            sentinel_ids=sentinels,
            maskable=maskable,
            begins_word=words,
        )

    def check_mask(self, objective: str) -> None:
        """Refuse a vocabulary without a mask token.

        Args:
            objective: str, what needs it.

        Raises:
            ValueError: if there is none.
        """
        if self.mask_id is None:
            raise ValueError(
                f"{objective} needs a token that hides others: train the vocabulary with a mask token, or name one it "
                "has (special_tokens={'mask_token': ...} of the tokenizer). Received: mask_id=None."
            )

    def check_sentinels(self, objective: str, count: int) -> None:
        """Refuse a vocabulary with too few sentinels.

        Args:
            objective: str, what needs them.
            count: int, how many it needs.

        Raises:
            ValueError: if there are fewer.
        """
        if len(self.sentinel_ids) < count:
            raise ValueError(
                f"{objective} needs {count} sentinels: reserve <extra_id_0> to <extra_id_{count - 1}> in the "
                f"vocabulary (added_tokens of the tokenizer), or give the model more tokens than the tokenizer, with "
                f"Specials.of(tokenizer, num_sentinels={count}, vocabulary_size=tokenizer.vocabulary_size + {count}). "
                f"Received: {len(self.sentinel_ids)} sentinels."
            )


def _vocabulary(tokenizer: Any) -> tuple[list[str], list[bool]]:
    """The tokens in the order of their ids, and whether a word begins with each."""
    from keras_transformer.text import ByteLevelBPETokenizer, WordPieceTokenizer
    from keras_transformer.text.alphabet import split_suffix
    from keras_transformer.text.byte_level import token_bytes
    from keras_transformer.text.sentence_piece_files import facts_of

    if isinstance(tokenizer, WordPieceTokenizer):
        tokens = list(tokenizer.vocabulary)
        return tokens, [not split_suffix(token)[1] for token in tokens]
    if isinstance(tokenizer, ByteLevelBPETokenizer):
        tokens = sorted(tokenizer.vocabulary, key=tokenizer.vocabulary.get)
        begins = [token_bytes(token)[:1].isspace() for token in tokens]
    else:
        tokens = list(facts_of(tokenizer.model).pieces)
        begins = [token.startswith("▁") for token in tokens]
    for token in tokenizer.added_tokens:
        if token["id"] == len(tokens):
            tokens.append(token["content"])
            begins.append(True)
        else:
            begins[token["id"]] = True
    return tokens, begins


def _sentinels(tokens: list[str]) -> tuple[int, ...]:
    """The ids of <extra_id_0>, <extra_id_1>, ... in this order."""
    found = {int(match[1]): index for index, token in enumerate(tokens) if (match := _SENTINEL.fullmatch(token))}
    return tuple(found[number] for number in sorted(found))
