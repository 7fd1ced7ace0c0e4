"""From a pipeline that generates texts to a SavedModel: strings in, strings out, tokenizer and loop inside."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from .operators import saved_model_operators
from .report import write_report
from .runners import open_saved_model
from .saved_model import write_archive
from .signatures import SERVING, TEXT
from .staging import publish_new, staging

GENERATION_FILE = "generation.json"
"""Prompts and the texts that they must give, in `assets.extra`."""
PROMPTS = ("The", "A film that", "Once upon a time there was a", "1, 2, 3, ", "café 很好 😀")
SEED = "seed"


def export_generator(
    pipeline,
    out_dir: str | pathlib.Path,
    version: int | None = None,
    *,
    prompts: Sequence[str] = PROMPTS,
    prompt_length: int | None = None,
) -> dict[str, Any]:
    """Exports a text generator with the options of its config; it is written and verified, or nothing is.

    The folder gets `saved_model/<version>/` and `report.json`. Its signature `serving_default` takes `text`, string of
    shape (batch,), and gives `text`: what `generate` returns. With `Sample` it also takes `seed`, an int32 scalar.

    Args:
        pipeline: `TextGenerationPipeline`.
        out_dir: Folder to write to; it is created.
        version: int above 0; None means the next free one.
        prompts: Prompts that must give the same texts as in Keras, in one batch and alone.
        prompt_length: int, most tokens of a prompt; longer ones are cut. None means as many as the model can read.

    Returns:
        The report, as `export_pipeline` returns it.

    Raises:
        ValueError: For a prompt length that does not fit the model.
        VerificationError: If the SavedModel gives other texts.
        FileExistsError: If the version exists.
        OSError: If the disk is full, or the folder cannot be written.

    Example:
        ```python
        from keras_transformer import TextGenerationPipeline
        from keras_transformer.export import export_generator
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import DecoderConfig, TransformerDecoder
        from keras_transformer.text import TextPacker, WordPieceTokenizer

        tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film"])
        config = DecoderConfig(
            vocabulary_size=7, hidden_dim=16, num_layers=1, max_length=96,
            attention=AttentionConfig(num_heads=2), feed_forward=FeedForwardConfig(intermediate_dim=16),
        )
        pipeline = TextGenerationPipeline(TransformerDecoder(config), TextPacker(tokenizer))
        report = export_generator(pipeline, "export")
        assert report["written"] == ["saved_model/1"]
        ```
    """
    out_dir = pathlib.Path(out_dir)
    function = pipeline.export_function(prompt_length=prompt_length)
    checks = {"prompts": list(prompts), "texts": _expected(pipeline, list(prompts)), SEED: None}
    if len(function.input_signature) > 1:
        checks[SEED] = 1
    with staging(out_dir) as stage:
        folder = stage / "saved_model"
        write_archive({SERVING: (function, list(function.input_signature))}, folder, [pipeline.packer])
        (folder / "assets.extra").mkdir(exist_ok=True)
        text = json.dumps(checks, ensure_ascii=True, indent=2) + "\n"
        (folder / "assets.extra" / GENERATION_FILE).write_text(text, encoding="utf-8")
        verified = verify_generator(folder)
        entry = {
            "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
            "operators": {"stored": saved_model_operators(folder)},
            "tolerance": 0.0,
        }
        target = publish_new(folder, out_dir / "saved_model", version)
    path = target.relative_to(out_dir).as_posix()
    return write_report(out_dir, [verified | entry | {"path": path}], [])


def verify_generator(path: pathlib.Path) -> dict[str, Any]:
    """Verifies the SavedModel of a generator with the prompts stored beside it, in one batch and alone.

    Args:
        path: Its version folder.

    Returns:
        Dict with `path`, `format`, `checks` (number of prompts) and `max_difference` by signature: 0.

    Raises:
        VerificationError: If a prompt gives another text.
    """
    from .verify import VerificationError

    checks = json.loads((path / "assets.extra" / GENERATION_FILE).read_text(encoding="utf-8"))
    run, prompts, texts = open_saved_model(path)[SERVING], checks["prompts"], checks["texts"]
    seed = {} if checks[SEED] is None else {SEED: checks[SEED]}
    copies = len(texts) // len(prompts)
    parts = [range(len(prompts))]
    if not seed:  # what is drawn for a row depends on the rows beside it
        parts += [range(i, i + 1) for i in range(len(prompts))]
    for part in parts:
        found = run(**{TEXT: [prompts[i] for i in part]}, **seed)[TEXT]
        expected = texts[part[0] * copies : (part[-1] + 1) * copies]
        for given, wanted in zip(found, expected, strict=True):
            if given.decode("utf-8") != wanted:
                raise VerificationError(
                    f"{path}: the signature {SERVING} gives another text than its check says: {given.decode()!r} "
                    f"instead of {wanted!r}. The export is not usable."
                )
    return {
        "path": str(path),
        "format": "saved_model",
        "checks": len(prompts),
        "max_difference": {SERVING: 0.0},
    }


def _expected(pipeline, prompts: list[str]) -> list[str]:
    import dataclasses

    sampler = pipeline.config.sampler
    if hasattr(sampler, "seed"):
        sampler = dataclasses.replace(sampler, seed=1)
    return pipeline.generate(prompts, sampler=sampler)
