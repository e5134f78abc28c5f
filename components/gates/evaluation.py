"""What TFMA's Evaluator measures of the parent, and the thresholds that its blessing stands for."""

import glob
import math
import os

import tensorflow as tf
from tensorflow_model_analysis.proto import config_pb2 as tfma
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from components.gates.config import GatesConfig
from components.gates.measured import Evaluation

_BLESSED, _ACCURACY = "blessed", "sparse_categorical_accuracy"


def eval_config(gates: GatesConfig, classes: int) -> tfma.EvalConfig:
    """Accuracy over all of `holdout` and for every label, with floors, and a bound on the change against the last
    blessed model where there is one."""

    def floor(value: float) -> tfma.GenericValueThreshold:
        return tfma.GenericValueThreshold(lower_bound={"value": value})

    change = tfma.GenericChangeThreshold(
        direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -gates.max_regression}
    )
    overall = tfma.PerSliceMetricThreshold(
        slicing_specs=[tfma.SlicingSpec()],
        threshold=tfma.MetricThreshold(value_threshold=floor(gates.min_float_accuracy), change_threshold=change),
    )
    by_label = tfma.PerSliceMetricThreshold(
        slicing_specs=[tfma.SlicingSpec(feature_values={"label": str(label)}) for label in range(classes)],
        threshold=tfma.MetricThreshold(value_threshold=floor(gates.min_class_accuracy)),
    )
    accuracy = tfma.MetricConfig(class_name="SparseCategoricalAccuracy", per_slice_thresholds=[overall, by_label])
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key="label")],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["label"])],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name="ExampleCount"), accuracy])],
    )


def evaluation_of(uri: str, blessing, classes: int) -> Evaluation:
    """What the Evaluator said, by its `blessing` artifact, and which slices it has no accuracy of: TFMA's own
    validation passes over those.

    Args:
        uri: of its ModelEvaluation.
        classes: number of labels, of which each is a slice beside the whole.
    """
    said = blessing.has_custom_property(_BLESSED)
    seen = _accuracies(uri)
    wanted = {"all classes": ()} | {f"label {label}": (("label", label),) for label in range(classes)}
    missing = tuple(name for name, key in wanted.items() if not math.isfinite(seen.get(key, math.nan)))
    return Evaluation(blessed=blessing.get_int_custom_property(_BLESSED) == 1 if said else None, missing=missing)


def _accuracies(uri: str) -> dict[tuple, float]:
    """Accuracy a slice, of whatever models were evaluated; nothing where the evaluation cannot be read."""
    found: dict[tuple, float] = {}
    for path in glob.glob(os.path.join(glob.escape(uri), "metrics*")):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            read = metrics_for_slice_pb2.MetricsForSlice.FromString(record)
            key = tuple((k.column, k.int64_value) for k in read.slice_key.single_slice_keys)
            for metric in read.metric_keys_and_values:
                name = metric.key
                if name.name == _ACCURACY and not name.is_diff and name.model_name in ("", "candidate"):
                    found[key] = metric.value.double_value.value
    return found
