"""WordPiece vocabularies: learn one from texts, read and write `vocab.txt`."""

import collections
import os
import pathlib
import re
from collections.abc import Iterable, Sequence

from keras_transformer.text import unicode_rules

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_wordpiece(
    texts: Iterable[str],
    vocabulary_size: int = 30522,
    lowercase: bool = True,
    min_frequency: int = 2,
    *,
    strip_accents: bool | None = None,
    tokenize_chinese_chars: bool = True,
    limit_alphabet: int = 1000,
    reserved_tokens: Sequence[str] = (),
) -> list[str]:
    """Learns a WordPiece vocabulary from texts, with the trainer of `tokenizers`; the same texts give the same result.

    Args:
        texts: The texts (str), read once.
        vocabulary_size: int. Largest number of tokens, the special ones included. Defaults to 30522.
        lowercase: bool. Lower-case the texts, as the tokenizer will. Defaults to True.
        min_frequency: int. How often two pieces must stand together to be merged. Defaults to 2.
        strip_accents: bool or None. Strip accents; None means the same as `lowercase`. Defaults to None.
        tokenize_chinese_chars: bool. Make every Chinese character a word. Defaults to True.
        limit_alphabet: int. Largest number of different characters, the most frequent ones. Defaults to 1000.
        reserved_tokens: Tokens (str) that no text becomes, after the special ones, for what a model may need later,
            such as "[unused0]". Defaults to ().

    Returns:
        list of str: [PAD], [UNK], [CLS], [SEP], [MASK], those reserved, then characters, suffix characters, and merges
            by rank.

    Raises:
        ValueError: If there is no text, or `vocabulary_size` is less than the characters need.

    Example:
    ```python
    from keras_transformer.text import train_wordpiece

    vocabulary = train_wordpiece(["a good film", "good films", "a bad film"], vocabulary_size=40)
    print(vocabulary[:5], "film" in vocabulary)
    ```
    """
    from tokenizers import Tokenizer, models, normalizers, trainers
    from tokenizers.pre_tokenizers import WhitespaceSplit

    if min_frequency < 1 or limit_alphabet < 1:
        raise ValueError(
            f"min_frequency and limit_alphabet must be at least 1. Received: {min_frequency} and {limit_alphabet}."
        )
    special = with_reserved(SPECIAL_TOKENS, reserved_tokens)
    normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=tokenize_chinese_chars,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    isolate = {int(c): f" {chr(c)} " for c in unicode_rules.punctuation().nonzero()[0]}
    words: collections.Counter[str] = collections.Counter()
    for text in texts:
        text = text.encode("utf-8", "ignore").decode()
        words.update(normalizer.normalize_str(text).translate(isolate).split())
    if not words:
        raise ValueError("The texts have no words to learn a vocabulary from. Received: no text, or only empty ones.")

    counts: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    alphabet = set(sorted(counts, key=lambda c: (-counts[c], c))[:limit_alphabet])
    suffixes = sorted({"##" + c for word in words for c in word[1:] if c in alphabet})
    # The trainer breaks ties by ids, and gives out ids in an order that changes from run to run: so name them first.
    fixed = [*special, *(token for token in (*sorted(alphabet), *suffixes) if token not in special)]
    if vocabulary_size < len(fixed):
        raise ValueError(
            f"vocabulary_size is less than the special tokens and characters of these texts need ({len(fixed)}). "
            f"Received: {vocabulary_size}. Raise it, or lower limit_alphabet."
        )
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=fixed,
        initial_alphabet=sorted(alphabet),
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f"{word} " * words[word] for word in sorted(words)), trainer)
    learned = tokenizer.get_vocab()
    return check_vocabulary(sorted(learned, key=learned.get))


def with_reserved(special_tokens: Sequence[str], reserved_tokens: Sequence[str]) -> list[str]:
    """Returns the special tokens of a vocabulary, and then those that are reserved.

    Args:
        special_tokens: Tokens (str).
        reserved_tokens: Further tokens (str).

    Returns:
        list of str.

    Raises:
        ValueError: If a reserved token occurs twice, has white space or a comma, or is none.
    """
    if isinstance(reserved_tokens, str):
        raise ValueError(f"reserved_tokens must be a list of tokens. Received: {reserved_tokens!r}.")
    reserved = list(reserved_tokens)
    for place, token in enumerate(reserved):
        if not isinstance(token, str) or not token or re.search(r"[\s,]", token) or token in reserved[:place]:
            raise ValueError(
                f"reserved_tokens must be different tokens without white space and commas. Received: {token!r}."
            )
    return [*special_tokens, *(token for token in reserved if token not in special_tokens)]


def load_vocabulary(path: str | os.PathLike, special_tokens: Iterable[str] = SPECIAL_TOKENS) -> list[str]:
    """Reads a vocabulary file, one token a line.

    Args:
        path: Path of the file, usually `vocab.txt`.
        special_tokens: Tokens that must be there. Defaults to BERT's five.

    Returns:
        list of str, in the order of their ids.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not UTF-8, or has duplicates, blank lines or lacks a special token.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no vocabulary file at this path. Received: {path}.")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"The vocabulary must be a UTF-8 text file, one token a line. Received: {path}.") from error
    lines = text.removesuffix("\n").split("\n")
    return check_vocabulary([line.removesuffix("\r") for line in lines], special_tokens, source=str(path))


def save_vocabulary(vocabulary: Sequence[str], path: str | os.PathLike) -> None:
    """Writes a vocabulary file, one token a line.

    Args:
        vocabulary: The tokens in the order of their ids.
        path: Path of the file, usually `vocab.txt`.

    Raises:
        ValueError: If a token is blank or cannot stand on a line, or occurs twice.
    """
    check_vocabulary(vocabulary, special_tokens=())
    path = pathlib.Path(path)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes("".join(f"{token}\n" for token in vocabulary).encode())
    os.replace(temporary, path)


def check_vocabulary(
    vocabulary: Sequence[str], special_tokens: Iterable[str] = SPECIAL_TOKENS, source: str = "the vocabulary"
) -> list[str]:
    """Returns the vocabulary as a list, or says in one error all that is wrong with it.

    Args:
        vocabulary: The tokens in the order of their ids.
        special_tokens: Tokens that must be there. Defaults to BERT's five.
        source: str. What to call the vocabulary in the error.

    Returns:
        list of str.

    Raises:
        ValueError: If a token is no str, blank, has a line break or occurs twice, or a special token is missing.
    """
    vocabulary = list(vocabulary)
    problems = []
    strange = [i for i, token in enumerate(vocabulary) if not isinstance(token, str)]
    if strange:
        raise ValueError(
            f"Every token must be a str. Received: {vocabulary[strange[0]]!r} at {strange[0]} in {source}."
        )
    # Only ASCII blanks count: vocabularies in use have tokens such as U+3000.
    blank = [
        i for i, token in enumerate(vocabulary) if not token.strip(" \t\r\n") or "\n" in token or token[-1] == "\r"
    ]
    if blank:
        problems.append(f"{len(blank)} blank or broken (the first at line {blank[0] + 1})")
    repeated = [token for token, count in collections.Counter(vocabulary).items() if count > 1 and token]
    if repeated:
        problems.append(f"{len(repeated)} more than once ({', '.join(map(repr, repeated[:3]))})")
    known = set(vocabulary)
    missing = [token for token in special_tokens if token not in known]
    if missing:
        problems.append(f"without {', '.join(missing)}")
    if problems:
        raise ValueError(
            f"A WordPiece vocabulary has every token once, no blank lines, and all special tokens. Received: "
            f"{source} with {len(vocabulary)} tokens, {'; '.join(problems)}."
        )
    return vocabulary
