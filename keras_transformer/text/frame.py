"""What stands before and after a text in a row of tokens: [CLS] .. [SEP], <s> .. </s>, .. </s>, or nothing."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# Which special tokens the classes of Hugging Face put around a text.
_OF_CLASS = {
    "BertTokenizer": (("cls_token",), ("sep_token",)),
    "RobertaTokenizer": (("cls_token",), ("sep_token",)),
    "AlbertTokenizer": (("cls_token",), ("sep_token",)),
    "T5Tokenizer": ((), ("eos_token",)),
    "LlamaTokenizer": (("bos_token",), ()),
    "GPT2Tokenizer": ((), ()),
}
# Classes whose frame `tokenizer_config.json` may change by these flags.
_WITH_FLAGS = ("GPT2Tokenizer", "LlamaTokenizer")
_FLAGS = ("add_bos_token", "add_eos_token")


@dataclasses.dataclass(frozen=True)
class Frame:
    """The tokens around a text.

    Args:
        before: str. Tokens before it. Default none.
        after: str. Tokens after it. Default none.

    Example:
    ```python
    from keras_transformer.text import Frame, TextPacker, WordPieceTokenizer

    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film"])
    assert Frame.of(tokenizer) == Frame(("[CLS]",), ("[SEP]",))
    packer = TextPacker(tokenizer, frame=Frame(before=("[CLS]",)))
    print(packer.tokens(["a film"]).to_list())  # [[2, 5, 6]]
    ```
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            tokens = getattr(self, name)
            if isinstance(tokens, str) or not all(isinstance(token, str) for token in tokens):
                raise ValueError(f"{name} must be a list of tokens, each a str. Received: {tokens!r}.")
            object.__setattr__(self, name, tuple(tokens))

    def __len__(self) -> int:
        """Returns the number of tokens around a text."""
        return len(self.before) + len(self.after)

    def __str__(self) -> str:
        return " ".join([*self.before, "..", *self.after])

    def to_dict(self) -> dict[str, list[str]]:
        """Returns the tokens by name, as JSON has them."""
        return {"before": list(self.before), "after": list(self.after)}

    @classmethod
    def of(cls, tokenizer: Any) -> "Frame":
        """Returns the frame that Hugging Face's class of a tokenizer has.

        Args:
            tokenizer: A `WordPieceTokenizer`, `ByteLevelBPETokenizer` or `SentencePieceTokenizer`.

        Returns:
            Frame; special tokens that the tokenizer does not have are left out.
        """
        return cls(*(_named(tokenizer, side) for side in _OF_CLASS[tokenizer.hugging_face_class]))

    @classmethod
    def of_folder(cls, tokenizer: Any, config: Mapping[str, Any], backend: Mapping[str, Any]) -> "Frame":
        """Returns the frame that a folder of Hugging Face asks for.

        Args:
            tokenizer: The tokenizer of the folder.
            config: What its `tokenizer_config.json` holds; `add_bos_token` and `add_eos_token` count first.
            backend: What its `tokenizer.json` holds, whose `post_processor` counts next.

        Returns:
            Frame.
        """
        frame = _of_processor(backend.get("post_processor") or {}) or cls.of(tokenizer)
        flags = [config.get(flag) for flag in _FLAGS]
        if tokenizer.hugging_face_class not in _WITH_FLAGS or flags == [None, None]:
            return frame
        before, after = (
            side if flag is None else _named(tokenizer, (key,)) if flag else ()
            for side, flag, key in zip((frame.before, frame.after), flags, ("bos_token", "eos_token"), strict=True)
        )
        return cls(before, after)

    def settings(self, tokenizer: Any) -> dict[str, bool]:
        """Returns the flags with which `tokenizer_config.json` says the frame to Hugging Face's classes."""
        if tokenizer.hugging_face_class not in _WITH_FLAGS:
            return {}
        return dict(zip(_FLAGS, (bool(self.before), bool(self.after)), strict=True))


def _named(tokenizer: Any, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(tokenizer.special_tokens[key] for key in keys if key in tokenizer.special_tokens)


def _of_processor(processor: Mapping[str, Any]) -> Frame | None:
    """Returns the frame of a post-processor of the library `tokenizers`, or None if it has none."""
    kind = processor.get("type")
    if kind == "Sequence":
        return next(filter(None, map(_of_processor, processor["processors"])), None)
    if kind in ("BertProcessing", "RobertaProcessing"):
        return Frame((processor["cls"][0],), (processor["sep"][0],))
    if kind != "TemplateProcessing":
        return None
    names: list[str | None] = [part.get("SpecialToken", {}).get("id") for part in processor["single"]]
    text = names.index(None)
    sides = (names[:text], names[text + 1 :])
    special = processor.get("special_tokens") or {}
    return Frame(*(tuple(t for name in side for t in special[name]["tokens"]) for side in sides))
