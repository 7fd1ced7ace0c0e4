"""What padding costs, by arithmetic: texts padded to the limit, in length buckets, and packed several to a row.

    python benchmarks/padding.py

5,000 real reviews, or the first sentence of each, as MiniLM's word pieces, in the batches that training makes of them;
of packing eight epochs. Nothing is timed. `gigaflops_per_text` are those of the products in a training step of MiniLM's
encoder (three times the forward pass), scores of the attention included: a row of 512 tokens has 512 x 512 of them
whatever it holds. `first_token` is the same with the last block computed for the first token of each text only.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import training_speed

HIDDEN, INTERMEDIATE, LAYERS = 384, 1536, 6
TOKENS_PER_BATCH = 8192
# Texts, most tokens of one, and tokens of a packed row.
CASES = {
    "reviews_512": ("reviews", 512, 512),
    "reviews_256": ("reviews", 256, 256),
    "reviews_256_in_rows_of_512": ("reviews", 256, 512),
    "sentences_128": ("sentences", 128, 128),
}
EPOCHS = 8


def flops(rows: float, length: int, texts: float, first_token: bool) -> float:
    """Multiplications and additions of a training step over so many rows of a length."""
    tokens = rows * length

    def block(queries: float, queries_of_row: float) -> float:
        keys_and_values = 2 * tokens * 2 * HIDDEN * HIDDEN
        others = 2 * queries * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * INTERMEDIATE)
        return keys_and_values + others + 4 * rows * queries_of_row * length * HIDDEN

    last = block(texts, texts / rows) if first_token else block(tokens, length)
    return 3 * ((LAYERS - 1) * block(tokens, length) + last)


def describe(lengths: np.ndarray, plan) -> dict:
    """Returns the figures of the first epoch of a plan."""
    batches = plan.epoch(0)
    texts = np.diff(batches.splits)
    rows = getattr(batches, "packed_sizes", texts)
    works = {
        name: sum(
            flops(row, length, text, first_token)
            for row, length, text in zip(rows.tolist(), batches.bucket_lengths.tolist(), texts.tolist(), strict=True)
        )
        for name, first_token in (("gigaflops_per_text", False), ("gigaflops_per_text_first_token", True))
    }
    return {
        "tokens_per_real_token": round(float((rows * batches.bucket_lengths).sum() / lengths.sum()), 4),
        "scores_per_real_token": round(float((rows * batches.bucket_lengths**2).sum() / lengths.sum()), 1),
        "steps": plan.steps_per_epoch,
        "texts_per_step": {"mean": round(float(texts.mean()), 1), "least": int(texts.min()), "most": int(texts.max())},
        **{name: round(work / len(lengths) / 1e9, 3) for name, work in works.items()},
    }


def main(arguments: argparse.Namespace) -> None:
    """Writes the figures."""
    from keras_transformer import data, pretrained
    from keras_transformer.training import Recipe

    packer = pretrained.load_packer(pretrained.resolve("minilm"), max_length=512)
    result = {"settings": {"reviews": arguments.reviews, "tokens_per_batch": TOKENS_PER_BATCH}, "cases": {}}
    reviews, _ = training_speed.sample(arguments.reviews)
    sentences = [re.split(r"(?<=[.!?])\s", review, maxsplit=1)[0] for review in reviews]
    lengths_of = {"reviews": data.encode(packer, reviews).lengths, "sentences": data.encode(packer, sentences).lengths}
    for case, (texts, limit, row_length) in CASES.items():
        lengths = np.minimum(lengths_of[texts], limit)
        buckets = Recipe().override(f"data.max_length={limit}").data.buckets()
        packed = data.PackedPlan(lengths, row_length, TOKENS_PER_BATCH)
        fills = [packed.fill_rate(epoch) for epoch in range(EPOCHS)]
        most_rows = max(int(packed.epoch(epoch).packed_sizes.max()) for epoch in range(EPOCHS))
        result["cases"][case] = {
            "real_tokens_per_text": round(float(lengths.mean()), 1),
            "limit": describe(lengths, data.BatchPlan(lengths, (limit,), TOKENS_PER_BATCH)),
            "buckets": describe(lengths, data.BatchPlan(lengths, buckets, TOKENS_PER_BATCH)),
            "buckets_of_16": describe(lengths, data.BatchPlan(lengths, range(16, limit + 1, 16), TOKENS_PER_BATCH)),
            "packing": describe(lengths, packed)
            | {"fill_rate": {"least": round(min(fills), 4), "most": round(max(fills), 4)}, "most_rows": most_rows},
        }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, default=5000, help="number of reviews (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "padding.json", help="default: %(default)s"
    )
    main(parser.parse_args())
