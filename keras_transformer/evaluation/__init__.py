"""Honest judgement of a trained model: metrics with intervals, calibration, the TF-IDF baseline, and report.html."""

from keras_transformer.evaluation.baseline import TfidfBaseline
from keras_transformer.evaluation.calibration import (
    choose_threshold,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
    scaled_threshold,
)
from keras_transformer.evaluation.classification import accuracy_by_length, classification_report, curves
from keras_transformer.evaluation.intervals import mcnemar, paired_bootstrap, wilson_interval
from keras_transformer.evaluation.metrics import difference, make_metrics, worst_mistakes
from keras_transformer.evaluation.multi_label import multi_label_report
from keras_transformer.evaluation.regression import regression_report
from keras_transformer.evaluation.report import write_report

__all__ = [
    "TfidfBaseline",
    "accuracy_by_length",
    "choose_threshold",
    "classification_report",
    "curves",
    "difference",
    "expected_calibration_error",
    "fit_temperature",
    "make_metrics",
    "mcnemar",
    "multi_label_report",
    "paired_bootstrap",
    "regression_report",
    "reliability_bins",
    "scaled_threshold",
    "wilson_interval",
    "worst_mistakes",
    "write_report",
]
