"""What surrounds a SavedModel in TensorFlow Serving: messages, warm-up records, configuration files, requests."""

from .options import ServingOptions

__all__ = ["ServingOptions"]
