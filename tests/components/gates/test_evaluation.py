"""What the Evaluator's blessing stands for, asked of TFMA's own validator."""

import pytest
from tensorflow_model_analysis.evaluators.metrics_validator import validate_metrics
from tensorflow_model_analysis.metrics.metric_types import MetricKey
from tensorflow_model_analysis.utils.config_util import update_eval_config_with_defaults

from components.gates.config import GatesConfig
from components.gates.evaluation import eval_config

GATES = GatesConfig(min_float_accuracy=0.8, min_class_accuracy=0.5, max_regression=0.015)
KEY = "sparse_categorical_accuracy"


def blessed(slice_key: tuple, value: float, change: float | None = None) -> bool:
    """Whether TFMA validates one slice. With a change there is a baseline model, as TFX's Evaluator adds it."""
    config = update_eval_config_with_defaults(
        eval_config(GATES, 3), has_baseline=change is not None, rubber_stamp=change is None
    )
    name = "candidate" if change is not None else ""
    metrics = {MetricKey(name=KEY, model_name=name): value}
    if change is not None:
        metrics[MetricKey(name=KEY, model_name=name, is_diff=True)] = change
    return validate_metrics((slice_key, metrics), config).validation_ok


@pytest.mark.parametrize(("value", "good"), [(0.81, True), (0.8, True), (0.79, False), (float("nan"), False)])
def test_overall_accuracy_has_its_floor(value, good):
    assert blessed((), value) is good


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize(("value", "good"), [(0.51, True), (0.49, False)])
def test_every_class_has_its_own_floor(label, value, good):
    assert blessed((("label", label),), value) is good


@pytest.mark.parametrize(("change", "good"), [(0.2, True), (-0.01, True), (-0.02, False)])
def test_accuracy_may_fall_by_so_much_against_the_last_blessed_model(change, good):
    assert blessed((), 0.85, change) is good


def test_it_reads_the_serving_signature_and_slices_by_label():
    config = eval_config(GATES, 3)
    (model,) = config.model_specs
    assert (model.signature_name, model.label_key) == ("serving_default", "label")
    assert [list(s.feature_keys) for s in config.slicing_specs] == [[], ["label"]]
