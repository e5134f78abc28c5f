"""What the Evaluator's blessing stands for, asked of TFMA's own validator."""

import pytest
from tensorflow_model_analysis.evaluators.metrics_validator import validate_metrics
from tensorflow_model_analysis.metrics.metric_types import MetricKey
from tensorflow_model_analysis.utils.config_util import update_eval_config_with_defaults

from components.common.tfx_nodes import standard_artifacts
from components.gates.config import GatesConfig
from components.gates.evaluation import eval_config, evaluation_of
from components.gates.measured import Evaluation
from tests.components.gates.evaluations import write_evaluation

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


@pytest.fixture
def blessing():
    made = standard_artifacts.ModelBlessing()
    made.set_int_custom_property("blessed", 1)
    return made


def test_an_evaluation_of_every_slice_misses_none(tmp_path, blessing):
    write_evaluation(str(tmp_path), range(3))
    assert evaluation_of(str(tmp_path), blessing, 3) == Evaluation(blessed=True, missing=())
    assert evaluation_of(str(tmp_path), blessing, 5).missing == ("label 3", "label 4")


def test_what_is_no_number_or_not_there_is_missing(tmp_path, blessing):
    (tmp_path / "nan").mkdir(), (tmp_path / "part").mkdir()
    write_evaluation(str(tmp_path / "nan"), range(2), accuracy=float("nan"))
    write_evaluation(str(tmp_path / "part"), range(2), overall=False)
    assert evaluation_of(str(tmp_path / "nan"), blessing, 2).missing == ("all classes", "label 0", "label 1")
    assert evaluation_of(str(tmp_path / "part"), blessing, 2).missing == ("all classes",)
    assert len(evaluation_of(str(tmp_path / "nowhere"), blessing, 2).missing) == 3


def test_a_blessing_that_says_nothing_is_none(tmp_path):
    write_evaluation(str(tmp_path), range(2))
    assert evaluation_of(str(tmp_path), standard_artifacts.ModelBlessing(), 2).blessed is None
