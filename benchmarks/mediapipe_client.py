"""Answers texts with MediaPipe's text tasks; runs in an environment with nothing but MediaPipe.

Takes the paths of a classifier, of an embedder (or -), of a JSON list of texts, and of the JSON file to write.
"""

import importlib.metadata
import json
import sys
import time

from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import text as text_tasks


def main(classifier: str, embedder: str, texts: str, answers: str) -> None:
    with open(texts, encoding="utf-8") as file:
        given = json.load(file)
    options = text_tasks.TextClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=classifier))
    result = {"scores": [], "heads": [], "embeddings": [], "version": importlib.metadata.version("mediapipe")}
    with text_tasks.TextClassifier.create_from_options(options) as task:
        started = time.perf_counter()
        for text in given:
            (head,) = task.classify(text).classifications
            result["heads"].append(head.head_name)
            result["scores"].append({category.category_name: category.score for category in head.categories})
        result["classify_seconds"] = time.perf_counter() - started
    if embedder != "-":
        options = text_tasks.TextEmbedderOptions(base_options=tasks.BaseOptions(model_asset_path=embedder))
        with text_tasks.TextEmbedder.create_from_options(options) as task:
            for text in given:
                (embedding,) = task.embed(text).embeddings
                result["embeddings"].append([float(value) for value in embedding.embedding])
    with open(answers, "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
