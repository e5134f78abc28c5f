"""What TFMA's Evaluator measures of the parent, and the thresholds that its blessing stands for."""

from tensorflow_model_analysis.proto import config_pb2 as tfma

from components.gates.config import GatesConfig


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
