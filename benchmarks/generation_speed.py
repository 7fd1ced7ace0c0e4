"""Tokens per second of cached greedy generation with a model of GPT-2-small's size, on the CPU.

    python benchmarks/generation_speed.py --rounds=3

Prompts of 32 tokens, 64 new ones without a stop, one row and eight. The weights are random: they do not change the
work. The first call, which compiles, is reported apart. `ours_xla` has `model.jit_compile = True`; in bfloat16 all
weights are. `ours_jax` is this package on the JAX backend, in the environment that `make test-jax` creates; it is left
out where there is none. The contestants live in processes side by side and compute in turn; the finished rounds are
kept in the result file.
"""

import dataclasses
import os
import pathlib
import statistics

import libraries
import numpy as np
import rounds

PROMPT = 32
NEW = 64
CASES = {"batch_1": 1, "batch_8": 8}
CALLS = 2
JAX = pathlib.Path(os.environ.get("VENV_JAX", rounds.ROOT / ".venv-jax")) / "bin" / "python"


def prompts(size: libraries.Size, rows: int) -> np.ndarray:
    """Returns the same prompts for every contestant, int32."""
    return np.random.default_rng(1).integers(1, size.vocabulary_size, (rows, PROMPT)).astype("int32")


def ours(size: libraries.Size, dtype: str = "float32", jit_compile: bool = False):
    """Returns a function from prompts to new tokens."""
    from keras_transformer import generation, models

    model = models.create(libraries.our_config(size), dtype=dtype)
    model.jit_compile = jit_compile
    return lambda ids: generation.generate(model, ids, max_new_tokens=NEW).token_ids


def keras_hub(size: libraries.Size):
    """Returns a function from prompts to new tokens."""
    model = libraries.KerasHub(size).task
    model.compile(sampler="greedy")

    def generate(ids):
        # Without a preprocessor the prompt stands in a row as long as the whole, and all of the row comes back.
        room = np.pad(ids, ((0, 0), (0, NEW)))
        mask = np.pad(np.ones_like(ids), ((0, 0), (0, NEW)))
        return np.array(model.generate({"token_ids": room, "padding_mask": mask}, stop_token_ids=None)["token_ids"])[
            :, PROMPT:
        ]

    return generate


def hugging_face(size: libraries.Size, low: bool):
    """Returns a function from prompts to new tokens."""
    import torch

    libraries.set_threads()
    model = libraries.HuggingFace(size).model.to(torch.bfloat16 if low else torch.float32).eval()
    model.config.use_cache = True
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0

    def generate(ids):
        tensor = torch.tensor(ids, dtype=torch.long)
        with torch.inference_mode():
            new = model.generate(
                tensor, attention_mask=torch.ones_like(tensor), max_new_tokens=NEW, do_sample=False, use_cache=True
            )
        return new[:, PROMPT:].numpy()

    return generate


CONTESTANTS = {
    "ours": ours,
    "ours_xla": lambda size: ours(size, jit_compile=True),
    "ours_bfloat16": lambda size: ours(size, "bfloat16"),
    "ours_jax": ours,
    "keras_hub": keras_hub,
    "hugging_face": lambda size: hugging_face(size, low=False),
    "hugging_face_bfloat16": lambda size: hugging_face(size, low=True),
}


def prepare(contestant: str, size: libraries.Size):
    """Returns what a process of a contestant does with a case."""
    generate = CONTESTANTS[contestant](size)

    def prepare_case(case: str):
        ids = prompts(size, CASES[case])

        def call():
            new = generate(ids)
            if new.shape != (CASES[case], NEW):
                raise AssertionError(f"{contestant} made tokens of shape {new.shape}")

        return rounds.timed(call)

    return prepare_case


def main() -> None:
    options = rounds.parser(__doc__, "generation_speed.json", rounds=3).parse_args()
    size = libraries.SIZES["gpt2-small"]
    # The tiny size has room for no more than the prompt and the new tokens.
    size = dataclasses.replace(size.tiny(), max_length=PROMPT + NEW) if options.smoke else size
    if options.contestant:
        rounds.serve(prepare(options.contestant, size))
        return
    names = rounds.chosen(list(CONTESTANTS), options.contestants)
    if "ours_jax" in names and not JAX.is_file():
        print(f"ours_jax is left out: there is no {JAX} (make test-jax creates it)")
        names.remove("ours_jax")
    wanted = rounds.chosen(list(CASES), options.cases)
    settings = {"size": dataclasses.asdict(size), "prompt": PROMPT, "new_tokens": NEW, "calls": CALLS}
    kept = rounds.Rounds(options.output, rounds.machine() | settings)

    def start(_: str, name: str) -> rounds.Contestant:
        command = [__file__, f"--contestant={name}", *(["--smoke"] if options.smoke else [])]
        if name != "ours_jax":
            return rounds.Contestant(command)
        return rounds.Contestant(command, str(JAX), {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"})

    rounds.run(kept, options.rounds, {"gpt2-small": wanted}, lambda case: names, start, calls=CALLS)
    kept.result["summary"] = {}
    for case in kept.result["rounds"]:
        medians = {
            field: {name: statistics.median(kept.figures(case, name, field)) for name in kept.names(case)}
            for field in ("seconds", "first_seconds")
        }
        speeds = {name: round(CASES[case] * NEW / seconds, 1) for name, seconds in medians["seconds"].items()}
        kept.result["summary"][case] = {
            "tokens_per_second": speeds,
            "first_seconds": medians["first_seconds"],
            "times_our_seconds": kept.ratios(case),
        }
        print(case, speeds)
    kept.save()


if __name__ == "__main__":
    main()
