"""Scalars for TensorBoard, written by TensorFlow alone: the package `tensorboard` is needed to look, not to train."""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf


class ScalarWriter:
    """Appends event files to a folder that TensorBoard reads.

    Args:
        folder: `pathlib.Path` of the folder of one curve.

    Example:

    ```python
    import tempfile
    from pathlib import Path

    from keras_transformer.training.scalars import ScalarWriter

    folder = Path(tempfile.mkdtemp())
    ScalarWriter(folder).write(1, {"loss": 0.5})
    assert list(folder.glob("events.out.tfevents.*"))
    ```
    """

    def __init__(self, folder: Path) -> None:
        self.writer = tf.summary.create_file_writer(str(folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of one step and flush them.

        Args:
            step: int, optimizer steps done.
            values: mapping from name to float.
        """
        # What `tf.summary.scalar` writes; that function itself lives in the package `tensorboard`.
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        )
        with self.writer.as_default():
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value, tf.float32), step=step, metadata=metadata)
        self.writer.flush()
