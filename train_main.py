"""Train, evaluate, explain, save, report and export with one command; then predict with another.

Flags become one Recipe; all the work is done in `keras_transformer.training` and `keras_transformer.export`.
"""

import json
import logging
import os
import re
import sys
import time
from pathlib import Path

from absl import app, flags
from absl import logging as absl_logging

from keras_transformer._command import quiet_tensorflow
from keras_transformer.training import Recipe, RunFolder, load_recipe
from keras_transformer.training.console import set_up_logging
from keras_transformer.training.launch import IS_LOCAL_WORKER, launch

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "recipe",
    "imdb",
    "Name of a recipe (imdb, demo, scratch, imdb_pretrained, imdb_adapted), or a JSON file that holds one.",
)
flags.DEFINE_multi_string(
    "set", [], "Replace one field of the recipe: --set train.epochs=2 --set data.bucket_lengths=64,128.", short_name="s"
)
flags.DEFINE_enum(
    "mode", "train", ["train", "pretrain", "evaluate", "export", "predict"], "What to do with the run folder."
)
flags.DEFINE_string("run_dir", None, "Folder of the run. Default: runs/ and the name of the recipe.")
flags.DEFINE_bool("overwrite", False, "Throw away what an earlier run left in the folder.")

# Short names of the fields that are changed most; `--set` reaches all of them.
FIELDS = {
    "init": ("model.init", "Start from minilm, a folder, hf:OWNER/NAME, or scratch."),
    "kind": ("model.kind", "single_label, multi_label or regression."),
    "word_vectors": ("model.word_vectors", "Start from a GloVe or word2vec file, or skip_gram (with --init=scratch)."),
    "vocabulary_size": ("model.vocabulary_size", "Word pieces to learn (with --init=scratch)."),
    "hidden_dim": ("model.hidden_dim", "Width of the encoder (with --init=scratch)."),
    "num_layers": ("model.num_layers", "Encoder blocks (with --init=scratch)."),
    "num_heads": ("model.num_heads", "Attention heads (with --init=scratch)."),
    "intermediate_dim": ("model.intermediate_dim", "Width of the feed-forward layers (with --init=scratch)."),
    "data": ("data.source", "imdb, tfds:NAME, a folder in the aclImdb layout, or a .csv, .tsv or .jsonl file."),
    "text_column": ("data.text_column", "Column of the text in a file."),
    "label_column": ("data.label_column", "Column of the label in a file."),
    "corpus": ("pretrain.corpus", "Text to pretrain on: a folder, a file, imdb, or tfds:NAME."),
    "objective": ("pretrain.objective", "What is learned from it: masked, replaced, next_token, .. or none."),
    "max_length": ("data.max_length", "Tokens per text; what is longer is truncated."),
    "truncation": ("data.truncation", "What is kept of long texts: head, head_tail or windows."),
    "learning_rate": ("optimizer.learning_rate", "Peak learning rate."),
    "epochs": ("train.epochs", "Passes over the training part."),
    "task_temperature": ("train.task_temperature", "With --task: 1 takes all rows alike, more favours small tasks."),
    "tokens_per_batch": ("train.tokens_per_batch", "Tokens of a step, padding included."),
    "class_weights": ("train.class_weights", "none, balanced, or name=weight,name=weight."),
    "patience": ("train.patience", "Stop after so many validations without a new best; none: never."),
    "seed": ("seed", "Seed of splits, weights, dropout and order."),
}
for _name, (_key, _help) in FIELDS.items():
    flags.DEFINE_string(_name, None, f"{_help} Sets {_key}.")
flags.DEFINE_multi_string(
    "task",
    [],
    "Learn several tasks by one encoder: --task=NAME=SOURCE, once for each; :kind=KIND, :text=COLUMN and :label=COLUMN "
    "may follow. In the other modes --task=NAME says which of them is meant.",
)

flags.DEFINE_string("strategy", "one_device", "one_device, mirrored, multi_worker (see TF_CONFIG), or tpu.")
flags.DEFINE_integer("logical_cpus", None, "Split the CPU into so many devices, to try --strategy=mirrored.")
flags.DEFINE_integer("local_workers", None, "With --strategy=multi_worker: start so many workers on this machine.")
flags.DEFINE_integer("restarts", 3, "With --local_workers: start all again so many times if one is killed.")
flags.DEFINE_float("wait", 300.0, "With --strategy=multi_worker: seconds to wait for the other workers.")
flags.DEFINE_bool("deterministic", False, "Make TensorFlow's operations deterministic: the same run, the same weights.")
flags.DEFINE_integer("threads", None, "Threads of one operation. Default: all cores.")
flags.DEFINE_string("data_dir", None, "Folder of a prepared TFDS data set or an extracted aclImdb.")
flags.DEFINE_bool("download", False, "Let TFDS download the data.")
flags.DEFINE_integer("checkpoint_steps", 100, "Steps between checkpoints within an epoch.")
flags.DEFINE_float("log_seconds", 30.0, "Seconds between progress lines where there is no terminal.")
flags.DEFINE_string("token_cache", None, "Folder of tokenized texts, or none. Default: in the user's cache folder.")
flags.DEFINE_multi_string("input", [], "With --mode=predict: a file, one text a line, or .jsonl with a text column.")
flags.DEFINE_string("output", None, "With --mode=predict: write the JSON lines to this file, not to the terminal.")
flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def recipe_from_flags() -> Recipe:
    """Return the recipe that the flags describe."""
    short = [f"{FIELDS[name][0]}={FLAGS[name].value}" for name in FIELDS if FLAGS[name].present]
    if FLAGS.task and FLAGS.mode in ("train", "pretrain"):
        short.append(f"data.tasks={','.join(FLAGS.task)}")
    return load_recipe(FLAGS.recipe).override(*short, *FLAGS.set)


def run_folder() -> Path:
    """Return the folder of the run."""
    return Path(FLAGS.run_dir or Path("runs") / Path(FLAGS.recipe).stem)


def chosen_task() -> str | None:
    """Return which task of a run of several is meant; None where the run has one."""
    if len(FLAGS.task) > 1:
        raise ValueError(f"--mode={FLAGS.mode} takes one --task. Received: {', '.join(FLAGS.task)}")
    return FLAGS.task[0] if FLAGS.task else None


def pretrain(arguments: list[str]) -> int:
    """Run the phase that learns from text without labels, and write the model that it leaves."""
    return train(arguments, pretrain_only=True)


def train(arguments: list[str], pretrain_only: bool = False) -> int:
    """Run every phase that has not been done yet."""
    refuse(arguments)
    recipe, folder, started = recipe_from_flags(), run_folder(), time.monotonic()
    if FLAGS.local_workers is not None and IS_LOCAL_WORKER not in os.environ:
        return train_on_local_workers()
    start_tensorflow()
    from keras_transformer.training import run
    from keras_transformer.training.run_folder import format_seconds

    done = run(
        recipe,
        folder,
        strategy=FLAGS.strategy,
        logical_cpus=FLAGS.logical_cpus,
        wait=FLAGS.wait,
        deterministic=FLAGS.deterministic,
        overwrite=FLAGS.overwrite,
        data_dir=FLAGS.data_dir,
        download=FLAGS.download,
        checkpoint_steps=FLAGS.checkpoint_steps,
        log_seconds=FLAGS.log_seconds,
        token_cache={None: True, "none": False}.get(FLAGS.token_cache, FLAGS.token_cache),
        export=write_export,
        pretrain_only=pretrain_only,
    )
    took = format_seconds(time.monotonic() - started)
    if done:  # by the chief, if there are several workers
        logging.getLogger("keras_transformer").info("done in %s; the results are in %s", took, folder)
    return 0


def train_on_local_workers() -> int:
    """Start this command once for every worker."""
    if FLAGS.strategy != "multi_worker":
        raise ValueError(f"--local_workers needs --strategy=multi_worker. Received: --strategy={FLAGS.strategy}")
    return launch([sys.executable, __file__, *sys.argv[1:]], FLAGS.local_workers, FLAGS.restarts, FLAGS.threads)


def evaluate(arguments: list[str]) -> None:
    """Print metrics.json of the run; with --data, score all labelled texts of that file or folder."""
    refuse(arguments)
    folder = RunFolder(run_folder())
    if not FLAGS["data"].present:
        if not folder.metrics.is_file():
            folder.recipe()  # says so if there is no run at all
            raise FileNotFoundError(f"{folder.path} is not evaluated yet: give the command without --mode to go on.")
        sys.stdout.write(folder.metrics.read_text())
        return
    recipe = recipe_from_flags()
    start_tensorflow()
    from keras_transformer.training.finished import load_pipeline, score

    metrics = score(load_pipeline(folder.path, chosen_task()), recipe, FLAGS.data_dir)
    sys.stdout.write(json.dumps(metrics, indent=2) + "\n")


def export(arguments: list[str]) -> None:
    """Write export/ of a trained run anew."""
    refuse(arguments)
    folder = RunFolder(run_folder())
    recipe = folder.recipe().override(*FLAGS.set).export
    start_tensorflow()
    from keras_transformer.export.held_out import load_held_out
    from keras_transformer.training import finished

    task, held_out = chosen_task(), None
    pipeline = finished.load_pipeline(folder.path, task)
    if recipe.held_out and task is not None:
        held_out = finished.load_held_out(folder.path, task, recipe.held_out, FLAGS.data_dir)
    elif recipe.held_out:
        held_out = load_held_out(folder.path, recipe.held_out)
    write_export(pipeline, folder.export / (task or ""), recipe, held_out)


def write_export(pipeline, folder: Path, recipe, held_out) -> None:
    """Write the artefacts of a pipeline; the training room itself knows nothing of exports."""
    from keras_transformer.export import export_pipeline

    export_pipeline(pipeline, folder, recipe.formats, precisions=recipe.precisions, held_out=held_out)


def predict(arguments: list[str]) -> None:
    """Label the texts of the arguments, of the files of --input, or of standard input; one JSON object a line."""
    start_tensorflow()
    from keras_transformer.training import predicting
    from keras_transformer.training.finished import load_pipeline

    pipeline = load_pipeline(run_folder(), chosen_task())
    predicting.predict(pipeline, predicting.texts(arguments, FLAGS.input, sys.stdin), FLAGS.output)


def start_tensorflow() -> None:
    """Load TensorFlow without its banner, with the threads that were asked for."""
    with quiet_tensorflow():
        import tensorflow as tf

        if FLAGS.threads is not None:
            if FLAGS.threads < 1:
                raise ValueError(f"--threads must be at least 1. Received: {FLAGS.threads}")
            tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
        import keras_transformer.training.runner  # noqa: F401


def refuse(arguments: list[str]) -> None:
    """Refuse words that are no flags, which are most often a flag without its dashes."""
    if arguments:
        raise ValueError(f"--mode={FLAGS.mode} takes flags only. Received: {' '.join(arguments)!r}")


def main(arguments: list[str]) -> int:
    """Do what --mode says; an error is one line and a non-zero exit."""
    set_up_logging()
    if not FLAGS.debug:
        absl_logging.set_verbosity(absl_logging.ERROR)  # TensorFlow's Python part logs through it
    try:
        modes = {"train": train, "pretrain": pretrain, "evaluate": evaluate, "export": export, "predict": predict}
        return modes[FLAGS.mode](arguments[1:]) or 0
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone, as `head` does
        return 141
    except Exception as error:
        if FLAGS.debug:
            raise
        message = re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split())) or "no message"
        name = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
        print(f"error: {name}{message} (--debug shows the traceback)", file=sys.stderr)
        return 1


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if "--debug" not in sys.argv else "0")
    app.run(main)
