"""What every test gets: quiet libraries, no network, its share of the cores, and a clean state."""

import atexit
import os
import random
import shutil
import tempfile

# Set before anything imports TensorFlow, NumPy or PyTorch.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Every test runs without a network, so a hub that cannot be reached fails at once instead of after a time-out.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# What can be computed again is not kept in the user's own cache folder.
if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers get that of the process that starts them
    os.environ["KERAS_TRANSFORMER_CACHE"] = tempfile.mkdtemp(prefix="keras_transformer_tests_")
    atexit.register(shutil.rmtree, os.environ["KERAS_TRANSFORMER_CACHE"], ignore_errors=True)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes that each start a thread per core slow each other down: give every process its share.
    _share = max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    # Not TF_NUM_INTEROP_THREADS: with a single one, two replicas in a process wait for each other for ever.
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(_name, str(_share))

import collections
import contextlib
import gc
import sys
import unittest.mock

import numpy as np
import pytest


@pytest.hookimpl(trylast=True)  # when those that were not asked for are left out
def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that in the end no process is left alone with one of them."""
    weights = collections.Counter()
    for item in items:
        # What is slow takes about thirty times as long as what is not.
        weights[item.path] += 30 if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -weights[item.path])


def pytest_collection_finish():
    """What the imports have made stays to the end: the garbage collector need not go through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_state():
    """Seed every generator, and put back Keras' global state that a test has changed."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - code under test may use the global generator
    if "keras" in sys.modules:
        import keras

        with _tensorflow_keeps_its_kernels():
            keras.utils.set_random_seed(0)
        policy = keras.config.dtype_policy()
        yield
        keras.config.set_dtype_policy(policy)
    else:
        yield


def _tensorflow_keeps_its_kernels():
    """Leave out `tf.random.set_seed`, from which nothing here draws: Keras has generators of its own.

    It throws away all kernels, and every graph that the tests of a file share would be optimised again for each of
    them.
    """
    if "tensorflow" not in sys.modules:
        return contextlib.nullcontext()
    return unittest.mock.patch.object(sys.modules["tensorflow"].random, "set_seed")
