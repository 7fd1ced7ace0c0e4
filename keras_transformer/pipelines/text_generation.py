"""`TextGenerationPipeline`: prompts in, texts out, and back to disk."""

import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_transformer import _files, generation, pretrained
from keras_transformer.generation import GenerationConfig
from keras_transformer.generation.decoding import Decoding
from keras_transformer.generation.prompts import check_config
from keras_transformer.pipelines.checks import (
    GENERATION,
    SETTINGS_FILE,
    check_target,
    check_task,
    check_texts,
    damaged,
    read_settings,
)
from keras_transformer.pipelines.generated_text import GeneratedText
from keras_transformer.text import TextPacker

FORMAT = 1


class TextGenerationPipeline:
    """A model that makes tokens, the packer that feeds it, and what it generates by default.

    Args:
        model: `TransformerDecoder` or `TransformerEncoderDecoder`.
        packer: `TextPacker` with the vocabulary of the model. Its frame stands around every prompt; prompts are never
            cut, whatever its `max_length`.
        config: `GenerationConfig` of every call that names no other; None means greedy, up to 64 tokens, and until the
            end-of-text token if the tokenizer has one.

    Raises:
        ValueError: If the model makes no tokens, or vocabulary or config do not fit it.

    Example:
        ```python
        import tokenizers
        from keras_transformer import TextGenerationPipeline
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import DecoderConfig, TransformerDecoder
        from keras_transformer.text import ByteLevelBPETokenizer, TextPacker

        trainer = tokenizers.ByteLevelBPETokenizer()
        trainer.train_from_iterator(["a good film", "good films"], vocab_size=262, show_progress=False)
        trainer.save_model(".")
        tokenizer = ByteLevelBPETokenizer("vocab.json", "merges.txt")
        config = DecoderConfig(
            vocabulary_size=tokenizer.vocabulary_size, hidden_dim=16, num_layers=1, max_length=32,
            attention=AttentionConfig(num_heads=2), feed_forward=FeedForwardConfig(intermediate_dim=32),
        )
        pipeline = TextGenerationPipeline(TransformerDecoder(config), TextPacker(tokenizer))
        (text,) = pipeline.generate(["a good"], max_new_tokens=4)
        assert "".join(pipeline.stream("a good", max_new_tokens=4)) == text
        ```
    """

    def __init__(self, model: Any, packer: TextPacker, config: GenerationConfig | None = None):
        if not isinstance(packer, TextPacker):
            raise ValueError(f"packer must be a TextPacker. Received: {type(packer).__name__}")
        self._decoding = Decoding(model)
        sizes = (self._decoding.encoder_vocabulary_size, self._decoding.vocabulary_size)
        rows = min(size for size in sizes if size is not None)
        if packer.tokenizer.vocabulary_size > rows:
            raise ValueError(
                "The packer's vocabulary does not fit the model's token table. "
                f"Received: {packer.tokenizer.vocabulary_size} tokens for {rows} rows"
            )
        self.model = model
        self.packer = packer
        self.config = _default_config(packer) if config is None else GenerationConfig.of(config, {})
        check_config(self._decoding, self.config)
        self._text = GeneratedText(packer, continues_prompt=not self._decoding.has_encoder)

    @classmethod
    def from_pretrained(cls, init: str | os.PathLike, *, dtype: Any = None, **options: Any) -> "TextGenerationPipeline":
        """Loads a pretrained decoder or encoder-decoder with its tokenizer and its special tokens.

        Args:
            init: A folder, or "hf:OWNER/NAME"; see `pretrained.resolve`.
            dtype: Dtype policy of the layers. Default: the global one.
            **options: Fields of `GenerationConfig`. Stop tokens, padding, the decoder's start token and tokens that are
                forced come from `generation_config.json` or `config.json`, lengths and samplers do not.

        Returns:
            The pipeline.

        Raises:
            FileNotFoundError: If there is no such folder, or a file in it is missing.
            ValueError: If the folder holds a model that makes no tokens, or a tokenizer that does not fit it.
        """
        folder = pretrained.resolve(init)
        packer = pretrained.load_packer(folder)
        model = pretrained.load_model(folder, dtype=dtype)
        config = _config_of(pretrained.load_special_ids(folder), Decoding(model).has_encoder, packer)
        return cls(model, packer, GenerationConfig.of(config, options))

    def generate(self, prompts: Sequence[str], config: GenerationConfig | None = None, **options: Any) -> list[str]:
        """Continues prompts, or answers texts.

        Args:
            prompts: The prompts, of any lengths.
            config: `GenerationConfig`; None means that of the pipeline.
            **options: Fields of `GenerationConfig` that replace those of `config`.

        Returns:
            For each prompt what comes after it, without special tokens: prompt + text is the whole; of an
            encoder-decoder its answer. With `BeamSearch(num_return_sequences=n)` n texts a prompt, best first.

        Raises:
            ValueError: For a prompt that is no text, is empty, or is too long for the positions of the model.
        """
        config = GenerationConfig.of(config or self.config, options)
        prompts = check_texts(prompts, "prompts")
        if not prompts:
            return []
        rows = self._rows(prompts)
        tokens = generation.generate(self.model, rows, config).to_lists()
        copies = len(tokens) // len(rows)
        return self._text.of_rows([row for row in rows for _ in range(copies)], tokens)

    def stream(self, prompt: str, config: GenerationConfig | None = None, **options: Any) -> Iterator[str]:
        """Yields the text of one prompt in pieces as it is made; together they are that of `generate`.

        A piece ends where a character does: bytes of a character that is not complete yet wait for the others.

        Args:
            prompt: The prompt.
            config: As for `generate`; not with `BeamSearch`, which knows its first token only at the end.
            **options: As for `generate`.

        Returns:
            Iterator of str.

        Raises:
            ValueError: As `generate`, when it is called, not when it is first iterated.
        """
        config = GenerationConfig.of(config or self.config, options)
        if not isinstance(prompt, str | bytes):
            raise ValueError(f"stream takes one prompt, a str. Received: {type(prompt).__name__}")
        (row,) = self._rows([prompt])
        return self._text.pieces(row, generation.stream(self.model, row, config))

    def export_function(
        self, config: GenerationConfig | None = None, *, prompt_length: int | None = None, **options: Any
    ) -> Callable:
        """Returns `generate` as a TensorFlow function of strings, tokenizer inside, for `tf.saved_model.save`.

        Its argument is `text`, string of shape (batch,), and with `Sample` the int32 scalar `seed`. It returns a dict
        of `text`, string of shape (batch,) (times `num_return_sequences`): what `generate` returns. Longer prompts are
        cut, as nothing can raise a clear error there: a decoder keeps their end, an encoder their beginning. A prompt
        without any token gives "".

        Args:
            config: As for `generate`.
            prompt_length: Most tokens of a prompt, its frame included; None means as many as the model has positions
                for, without a limit where its positions have none.
            **options: As for `generate`.

        Returns:
            `tf.function`; whoever saves it must keep `model` and `packer` in the same `tf.Module`.

        Raises:
            ValueError: As `generate`, for another backend than TensorFlow, or a prompt length that does not fit.
        """
        config = GenerationConfig.of(config or self.config, options)
        run = generation.export_function(self.model, config, prompt_length=prompt_length)
        limit = prompt_length or self._longest_prompt(config.max_new_tokens)
        packer = self.packer
        if limit is not None:
            # 0.0: everything from the end.
            kept = (
                {"truncation": "head"}
                if self._decoding.has_encoder
                else {"truncation": "head_tail", "head_fraction": 0.0}
            )
            packer = TextPacker(packer.tokenizer, max_length=limit, frame=packer.frame, **kept)
        prefix = "encoder_" if self._decoding.has_encoder else ""
        copies = getattr(config.sampler, "num_return_sequences", 1)
        specs = [tf.TensorSpec([None], tf.string, name="text")]
        if hasattr(config.sampler, "seed"):
            specs.append(tf.TensorSpec([], tf.int32, name="seed"))

        @tf.function(input_signature=specs, autograph=False)
        def serve(text, *seed):
            rows = packer.whole(text) if limit is None else packer.tokens(text)
            inputs = _padded(rows, packer.pad_id, prompt_length)
            inputs = {f"{prefix}{name}": tensor for name, tensor in inputs.items()}
            outputs = run(**inputs, **({"seed": seed[0]} if seed else {}))
            new = tf.RaggedTensor.from_tensor(outputs["token_ids"], lengths=outputs["lengths"])
            rows = tf.gather(rows, tf.repeat(tf.range(rows.nrows()), copies))
            found = self._text.in_graph(rows, new)
            return {"text": tf.where(rows.row_lengths() > 0, found, "")}

        return serve

    def save(self, folder: str | os.PathLike) -> None:
        """Writes model, tokenizer and config into one folder, whole or not at all.

        Args:
            folder: Created, or replaced if it holds a saved pipeline.

        Raises:
            FileExistsError: If the folder holds anything else.
            ValueError: If the config has a processor that cannot be saved.
        """
        folder = pathlib.Path(folder)
        check_target(folder)
        settings = {"format": FORMAT, "task": GENERATION, "config": generation.config_to_dict(self.config)}
        with _files.new_folder(folder) as new:
            self.model.save(new / "model.keras")
            self.packer.save(new)
            _files.write_text(new / SETTINGS_FILE, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "TextGenerationPipeline":
        """Reads what `save` wrote.

        Args:
            folder: The folder.

        Returns:
            The pipeline.

        Raises:
            FileNotFoundError: If there is no saved pipeline.
            ValueError: If a file is damaged, or the pipeline is one for another task.
        """
        folder, settings = read_settings(pathlib.Path(folder))
        check_task(folder, settings, GENERATION)
        try:
            config = generation.config_from_dict(settings["config"])
            model = keras.models.load_model(folder / "model.keras", compile=False)
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise damaged(folder, error) from error
        return cls(model, TextPacker.load(folder), config)

    def _rows(self, prompts: Sequence[str]) -> list[np.ndarray]:
        rows = [row.numpy() for row in self.packer.whole(prompts)]
        for number, row in enumerate(rows):
            if not row.size:
                begin = self.packer.tokenizer.special_tokens.get("bos_token")
                hint = f", such as {begin!r}" if begin else ""
                raise ValueError(
                    f"Every prompt needs a token to go on from{hint}: this tokenizer puts none before a text. "
                    f"Received: prompt {number} is {prompts[number]!r}"
                )
        return rows

    def _longest_prompt(self, max_new_tokens: int) -> int | None:
        if self._decoding.has_encoder:
            return self._decoding.encoder_positions
        return None if self._decoding.positions is None else self._decoding.positions - max_new_tokens + 1


def load_generator(init: str | os.PathLike, **options: Any) -> TextGenerationPipeline:
    """Loads a text generator: a pretrained model, or a pipeline that was saved.

    Args:
        init: A folder of pretrained weights, "hf:OWNER/NAME", or a folder that `TextGenerationPipeline.save` wrote.
        **options: Fields of `GenerationConfig`, the defaults of the pipeline; and `dtype` for pretrained weights.

    Returns:
        `TextGenerationPipeline`.

    Raises:
        FileNotFoundError: If there is no such folder, or a file in it is missing.
        ValueError: If the model makes no tokens, or its tokenizer does not fit it.

    Example:
        ```python
        import keras_transformer
        from keras_transformer import pretrained
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig, NormConfig
        from keras_transformer.models import DecoderConfig, TransformerDecoder
        from keras_transformer.text import TextPacker, WordPieceTokenizer

        tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film"])
        config = DecoderConfig(
            vocabulary_size=8, hidden_dim=16, num_layers=1, max_length=32, residual="pre_norm", norm=NormConfig(1e-5),
            attention=AttentionConfig(num_heads=2), feed_forward=FeedForwardConfig(32, "gelu_tanh"),
        )
        pretrained.save_huggingface(TransformerDecoder(config), TextPacker(tokenizer, max_length=32), "gpt2")
        generator = keras_transformer.load_generator("gpt2", max_new_tokens=4)
        (text,) = generator.generate(["a good"])
        assert isinstance(text, str)
        ```
    """
    if (pathlib.Path(init) / SETTINGS_FILE).is_file():
        pipeline = TextGenerationPipeline.load(init)
        pipeline.config = GenerationConfig.of(pipeline.config, options)
        return pipeline
    return TextGenerationPipeline.from_pretrained(init, **options)


def _default_config(packer: TextPacker) -> GenerationConfig:
    special = packer.tokenizer.special_tokens
    stops = (packer.tokenizer.id_of(special["eos_token"]),) if "eos_token" in special else ()
    return GenerationConfig(stop_token_ids=stops, pad_token_id=packer.pad_id)


def _config_of(ids: dict[str, Any], has_encoder: bool, packer: TextPacker) -> GenerationConfig:
    """Returns what the special tokens of a pretrained folder mean."""
    stops = ids.get("eos_token_id", ())
    values = {
        "stop_token_ids": stops,
        "pad_token_id": ids.get("pad_token_id", packer.pad_id),
        "first_token_id": ids.get("forced_bos_token_id"),
        "last_token_id": ids.get("forced_eos_token_id"),
    }
    if isinstance(values["last_token_id"], list):
        values["last_token_id"] = values["last_token_id"][0]
    if has_encoder:
        values["start_token_id"] = ids.get("decoder_start_token_id", ids.get("bos_token_id"))
    return GenerationConfig(**values)


def _padded(rows: tf.RaggedTensor, pad_id: int, length: int | None) -> dict[str, tf.Tensor]:
    """Returns ids and mask, at least one column of them."""
    token_ids = rows.to_tensor(pad_id, shape=[None, length])
    if length is None:
        missing = tf.maximum(1 - tf.shape(token_ids)[1], 0)
        token_ids = tf.pad(token_ids, [[0, 0], [0, missing]], constant_values=pad_id)
    lengths = tf.cast(rows.row_lengths(), tf.int32)
    mask = tf.cast(tf.range(tf.shape(token_ids)[1]) < lengths[:, None], tf.int32)
    return {"token_ids": token_ids, "padding_mask": mask}
