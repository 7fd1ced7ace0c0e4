"""Learn byte-level BPE and SentencePiece vocabularies with the trainers of `tokenizers` and `sentencepiece`."""

import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence

from keras_transformer.text import byte_level_files
from keras_transformer.text.albert_rules import AlbertCleaner, AlbertRules
from keras_transformer.text.byte_level_bpe import ByteLevelBPETokenizer
from keras_transformer.text.sentence_piece import SentencePieceTokenizer
from keras_transformer.text.special_files import content_of
from keras_transformer.text.vocabulary import with_reserved

BYTE_LEVEL_STYLES = {"gpt2": "GPT2Tokenizer", "roberta": "RobertaTokenizer"}
SENTENCE_PIECE_STYLES = ("t5", "albert")
_BYTES = 256
# Texts that are handed over to the trainer at once.
_TEXTS = 256
# Characters of a line of SentencePiece, which passes over lines of more than 4,192 bytes.
_LINE = 500
# The sums of the threads are added up in their order, so another number of them gives other scores.
_THREADS = 16


def train_byte_level_bpe(
    texts: Iterable[str],
    vocabulary_size: int = 50257,
    min_frequency: int = 2,
    *,
    style: str = "gpt2",
    reserved_tokens: Sequence[str] = (),
    add_prefix_space: bool = False,
) -> ByteLevelBPETokenizer:
    """Learns a byte-level BPE vocabulary from texts; the same texts give the same result.

    Args:
        texts: The texts (str), read once. The trainer keeps their different words.
        vocabulary_size: int. Largest number of tokens: special and reserved ones, 256 bytes, merges. Defaults to 50257.
        min_frequency: int. How often two tokens must stand together to be merged. Defaults to 2.
        style: str. "gpt2" has one special token, `<|endoftext|>`; "roberta" has `<s>`, `<pad>`, `</s>`, `<unk>` and
            `<mask>`, the kind that masking and BART need. Defaults to "gpt2".
        reserved_tokens: Further special tokens (str), which get the ids after those. Defaults to ().
        add_prefix_space: bool. Begin every text with a blank, as the tokenizer will. Defaults to False.

    Returns:
        A `ByteLevelBPETokenizer`; its `save` writes `vocab.json`, `merges.txt` and `tokenizer_config.json`.

    Raises:
        ValueError: If there is no text, `vocabulary_size` is too small for the bytes, or an argument is wrong.

    Example:
    ```python
    from keras_transformer.text import train_byte_level_bpe

    tokenizer = train_byte_level_bpe(["a good film", "good films", "a bad film"], vocabulary_size=270)
    assert tokenizer.vocabulary_size <= 270
    assert tokenizer.id_of("<|endoftext|>") == 0
    ```

    Reference: [Neural Machine Translation of Rare Words with Subword Units](https://arxiv.org/abs/1508.07909).
    """
    from tokenizers import Tokenizer, models, trainers
    from tokenizers.pre_tokenizers import ByteLevel

    if style not in BYTE_LEVEL_STYLES:
        raise ValueError(f"style must be one of {tuple(BYTE_LEVEL_STYLES)}. Received: {style!r}.")
    if min_frequency < 1:
        raise ValueError(f"min_frequency must be at least 1. Received: {min_frequency}.")
    named = byte_level_files.CLASSES[BYTE_LEVEL_STYLES[style]]
    # As the original: <s>, <pad>, </s>, <unk>, <mask>.
    order = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    special = list(dict.fromkeys(content_of(named[key]) for key in order if key in named))
    fixed = with_reserved(special, reserved_tokens)
    least = len(fixed) + _BYTES
    if vocabulary_size < least:
        raise ValueError(
            f"vocabulary_size is less than the {_BYTES} bytes and {len(fixed)} special tokens need ({least}). "
            f"Received: {vocabulary_size}."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=add_prefix_space)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=fixed,
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_batches(_with_characters(texts)), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    flags = [dict(token) for token in named.values() if not isinstance(token, str)]
    return ByteLevelBPETokenizer(
        model["vocab"],
        [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
        add_prefix_space,
        special_tokens={key: content_of(token) for key, token in named.items()},
        added_tokens=[*flags, *(token for token in fixed if token not in special)],
    )


def train_sentence_piece(
    texts: Iterable[str],
    vocabulary_size: int = 32000,
    *,
    style: str = "t5",
    reserved_tokens: Sequence[str] = (),
    extra_ids: int | None = None,
    lowercase: bool = True,
    character_coverage: float = 0.9995,
    max_lines: int = 100_000,
) -> SentencePieceTokenizer:
    """Learns a unigram vocabulary of SentencePiece from texts; the same texts give the same result.

    Args:
        texts: The texts (str), read once.
        vocabulary_size: int. Largest number of tokens, the special ones and extra ids included. Defaults to 32000.
        style: str. "t5" has `<pad>`, `</s>`, `<unk>` and the extra ids of span corruption; "albert" has `<pad>`,
            `<unk>`, `[CLS]`, `[SEP]` and `[MASK]`, and ALBERT's rules. Defaults to "t5".
        reserved_tokens: Further special tokens (str), which get the ids after those. Defaults to ().
        extra_ids: int. Number of `<extra_id_0>`, `<extra_id_1>`, ..., which have the last ids, the first one the very
            last. Defaults to 100 for "t5", and to 0 for "albert".
        lowercase: bool. For "albert", lower-case the texts, as the tokenizer will. Defaults to True.
        character_coverage: float in (0, 1]. Share of the characters of the texts that get a token. Defaults to 0.9995.
        max_lines: int. The trainer works in memory: on so many lines of up to 500 characters, drawn from all that there
            are. 100,000 of them take about 0.9 GB. Defaults to 100,000.

    Returns:
        A `SentencePieceTokenizer`; its `save` writes `spiece.model` and `tokenizer_config.json`.

    Raises:
        ValueError: If there is no text, `vocabulary_size` is less than characters and special tokens, or an argument is
            wrong.

    Example:
    ```python
    from keras_transformer.text import train_sentence_piece

    tokenizer = train_sentence_piece(["a good film", "good films", "a bad film"], vocabulary_size=40, extra_ids=10)
    assert tokenizer.vocabulary_size <= 40
    assert tokenizer.id_of("<extra_id_0>") == tokenizer.vocabulary_size - 1
    ```

    Reference: [Subword Regularization](https://arxiv.org/abs/1804.10959), [SentencePiece](
    https://arxiv.org/abs/1808.06226).
    """
    import sentencepiece

    if style not in SENTENCE_PIECE_STYLES:
        raise ValueError(f"style must be one of {SENTENCE_PIECE_STYLES}. Received: {style!r}.")
    if not 0 < character_coverage <= 1 or max_lines < 1000:
        raise ValueError(
            "character_coverage must be above 0 and at most 1, max_lines at least 1000. "
            f"Received: {character_coverage} and {max_lines}."
        )
    is_albert = style == "albert"
    extra = (0 if is_albert else 100) if extra_ids is None else extra_ids
    if extra < 0:
        raise ValueError(f"extra_ids must be at least 0. Received: {extra_ids}.")
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(extra))]
    control = ["[CLS]", "[SEP]", "[MASK]"] if is_albert else []
    special = ["<pad>", "<unk>", *control] if is_albert else ["<pad>", "</s>", "<unk>"]
    fixed = with_reserved([*special, *sentinels], reserved_tokens)
    control += fixed[len(special) + len(sentinels) :]
    if vocabulary_size <= len(fixed):
        raise ValueError(
            f"vocabulary_size is less than {len(fixed)} special tokens and a character need ({len(fixed) + 1}). "
            f"Received: {vocabulary_size}."
        )
    rules = AlbertRules(lowercase=lowercase) if is_albert else None
    ids = {"unk_id": 1, "eos_id": -1} if is_albert else {"eos_id": 1, "unk_id": 2}
    model, errors = io.BytesIO(), []
    lines = _lines(_cleaned(_with_characters(texts), rules))
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_noting(lines, errors),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocabulary_size - extra,
            hard_vocab_limit=False,
            character_coverage=character_coverage,
            control_symbols=control,
            input_sentence_size=max_lines,
            shuffle_input_sentence=True,
            num_threads=_THREADS,
            minloglevel=2,
            pad_id=0,
            bos_id=-1,
            **ids,
        )
    except RuntimeError as error:
        if errors:
            raise errors[0] from error
        found = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
        if found is None:
            raise ValueError(
                f"SentencePiece cannot learn {vocabulary_size} tokens from these texts. Received: {error}"
            ) from error
        raise ValueError(
            f"vocabulary_size is less than the special tokens and characters of these texts need "
            f"({int(found[1]) + extra}). Received: {vocabulary_size}. Raise it, or lower character_coverage."
        ) from error
    more = [{"content": token} for token in sentinels]
    return SentencePieceTokenizer(model.getvalue(), added_tokens=more, rules=rules)


def _with_characters(texts: Iterable[str]) -> Iterator[str]:
    """Returns the texts without lone surrogates, from the first one on that has a character; an error if none has."""
    if isinstance(texts, str):
        raise ValueError(f"texts must be several texts, not one str. Received: {texts[:40]!r}.")
    clean = (text.encode("utf-8", "ignore").decode() for text in texts)
    for text in clean:
        if text.strip():
            return itertools.chain([text], clean)
    raise ValueError("The texts have no characters to learn a vocabulary from. Received: no text, or only empty ones.")


def _noting(lines: Iterable[str], errors: list[Exception]) -> Iterator[str]:
    """The lines; an error of theirs, which SentencePiece would make a message of, is noted."""
    try:
        yield from lines
    except Exception as error:
        errors.append(error)
        raise


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    while batch := list(itertools.islice(texts, _TEXTS)):
        yield batch


def _cleaned(texts: Iterable[str], rules: AlbertRules | None) -> Iterator[str]:
    """The texts as SentencePiece will see them."""
    if rules is None:
        yield from texts
        return
    import tensorflow as tf

    cleaner = AlbertCleaner(rules)
    for batch in _batches(texts):
        yield from (text.decode() for text in cleaner.clean(tf.constant(batch))[0].numpy())


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """The texts in lines that are short enough."""
    for text in texts:
        for line in text.splitlines():
            while len(line) > _LINE:
                place = line.rfind(" ", 1, _LINE)
                place = _LINE if place < 0 else place
                yield line[:place]
                line = line[place:]
            if line.strip():
                yield line
