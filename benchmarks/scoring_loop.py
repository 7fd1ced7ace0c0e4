"""Scores a file as anybody would in twenty lines; `scoring_speed.py` runs it in the environment of Beam.

    python benchmarks/scoring_loop.py MODEL INPUT OUTPUT BATCH_SIZE

It reads all lines, calls the SavedModel with one batch after the other in the order of the file, and writes JSON lines.
A bad line stops it, a kill loses everything, and it runs in one process.
"""

import json
import sys

import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the operators of the packer


def main(model: str, source: str, target: str, batch_size: int) -> None:
    """Scores one file."""
    loaded = tf.saved_model.load(model)
    serve = loaded.signatures["serving_default"]
    with open(source, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    with open(target, "w", encoding="utf-8") as file:
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            outputs = serve(text=tf.constant([row["text"] for row in batch]))
            outputs = {name: value.numpy() for name, value in outputs.items()}
            for place, row in enumerate(batch):
                label, probabilities = outputs["label"][place].decode(), outputs["probabilities"][place].tolist()
                score = {"id": row["id"], "label": label, "score": max(probabilities), "probabilities": probabilities}
                file.write(json.dumps(score) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
