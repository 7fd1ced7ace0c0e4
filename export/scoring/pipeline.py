"""The pipeline: tasks -> read -> RunInference -> write, one block after the other, on the runner that is asked for."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from ..loading import load_tensorflow
from .blocks import ReadBlock, ScoredBlock, read_blocks, write_block
from .model import Scorer, share_cores
from .options import ScoringOptions
from .work import Task

RUNNERS = {"flink": "FlinkRunner", "spark": "SparkRunner", "dataflow": "DataflowRunner", "portable": "PortableRunner"}
"""Name -> the runner that Beam has for it. "direct" is Beam's runner in this process, or in some beside it."""


def run_pipeline(
    left: Sequence[Task],
    model: str,
    output: str,
    options: ScoringOptions,
    batch_size: int,
    runner: str = "direct",
    workers: int = 1,
    beam_options: Sequence[str] = (),
) -> None:
    """Scores what is left to do, and returns when all of it is written.

    A block is one element, from reading to writing. So it is written as soon as it is scored, whatever the runner; with
    one element a line, the lines of a block would have to be collected again, which a runner does behind the last one.

    Args:
        left: sequence of `Task`.
        model: str, folder of the SavedModel.
        output: str, folder of the run.
        options: `ScoringOptions`.
        batch_size: int, texts in one call of the model.
        runner: str, "direct" or one of `RUNNERS`. Default "direct".
        workers: int, processes of the direct runner. Default 1.
        beam_options: sequence of str, options of Beam and of the runner.

    Raises:
        ImportError: If Beam is not installed.
        ValueError: For an option that Beam does not know.
        RuntimeError: If the pipeline fails.
    """
    beam = load_beam()
    from apache_beam.ml.inference.base import RunInference
    from apache_beam.options.pipeline_options import PipelineOptions

    words = list(beam_options)
    if runner == "direct":
        mode = "multi_processing" if workers > 1 else "in_memory"
        words += [f"--direct_num_workers={workers}", f"--direct_running_mode={mode}"]
        share_cores(workers)
        pipeline_options = PipelineOptions(["--default_sdk_harness_log_level=CRITICAL", *words])
        engine = _direct_runner(pipeline_options)
    else:
        pipeline_options, engine = PipelineOptions(words), RUNNERS[runner]
    pipeline = beam.Pipeline(engine, pipeline_options)
    (
        pipeline
        | "Tasks" >> beam.Create(left)
        | "Spread" >> beam.Reshuffle()
        | "Read" >> beam.FlatMap(functools.partial(read_blocks, max_line_bytes=options.max_line_bytes))
        | "Score" >> RunInference(_handler(model, batch_size))
        | "Write" >> beam.Map(functools.partial(write_block, output=output, options=options))
    )
    result = pipeline.run()
    state = result.wait_until_finish()
    if str(state) not in ("DONE", "None"):
        raise RuntimeError(f"The runner ended in the state {state}.")


def _direct_runner(options) -> Any:
    """Returns Beam's runner in Python; "DirectRunner" would look for one in another language, to download it."""
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle

    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    # Without it, worker processes know no options.
    provision = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(provision))


def load_beam():
    """Returns the module `apache_beam`.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import apache_beam
    except ImportError as error:
        raise ImportError(
            "Scoring needs Apache Beam, in an environment of its own: pip install apache-beam tensorflow "
            f"tensorflow-text -c constraints-beam.txt. Received: {error}"
        ) from error
    return apache_beam


def _handler(model: str, batch_size: int):
    """Returns the `ModelHandler`; its class is made here, because Beam is needed for nothing else in this package."""
    from apache_beam.ml.inference.base import ModelHandler

    class SavedModelHandler(ModelHandler[ReadBlock, ScoredBlock, Scorer]):
        """Our SavedModel for RunInference, which loads it once in each process."""

        def __init__(self):
            super().__init__(min_batch_size=1, max_batch_size=1)

        def load_model(self) -> Scorer:
            load_tensorflow()
            return Scorer(model, batch_size)

        def run_inference(
            self, batch: Sequence[ReadBlock], model: Scorer, inference_args=None
        ) -> Iterable[ScoredBlock]:
            for read in batch:
                yield ScoredBlock(read, model(read.texts))

        def get_num_bytes(self, batch: Sequence[ReadBlock]) -> int:
            return sum(read.block.end - read.block.start for read in batch)

        def get_metrics_namespace(self) -> str:
            return "keras_transformer"

    return SavedModelHandler()
