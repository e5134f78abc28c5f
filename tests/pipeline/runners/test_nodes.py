"""A compiled graph's runtime parameters: their defaults, and what a run gives for them."""

import pytest
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline

from components.common.errors import ConfigError
from pipeline.runners.nodes import bind, compiled, runtime_parameters
from tests.e2e import kubeflow_nodes as nodes

KINDS = {"text": str, "count": int, "rate": float}


def graph(**defaults):
    asked = {name: RuntimeParameter(name=f"run_{name}", ptype=KINDS[name], default=defaults[name]) for name in KINDS}
    return compiled(Pipeline(pipeline_name="p", pipeline_root="r", components=[nodes.printer(file="f", **asked)]))


def values(ir) -> dict:
    found = ir.nodes[0].pipeline_node.parameters.parameters
    fields = {name: found[name].field_value for name in KINDS}
    return {name: getattr(value, value.WhichOneof("value")) for name, value in fields.items()}


@pytest.mark.parametrize("defaults", [{"text": "", "count": 0, "rate": 0}, {"text": "a", "count": -1, "rate": 0.5}])
def test_a_default_is_kept_also_if_it_is_0_or_empty(defaults):
    ir = graph(**defaults)
    assert set(runtime_parameters(ir)) == {"run_text", "run_count", "run_rate"}
    bind(ir, "id")
    assert values(ir) == defaults and isinstance(values(ir)["rate"], float)


def test_what_a_run_gives_is_taken_as_its_type():
    ir = graph(text="a", count=1, rate=0.5)
    bind(ir, "id", run_text="b=c", run_count="7", run_rate="1e-3")
    assert values(ir) == {"text": "b=c", "count": 7, "rate": 0.001}


def test_a_parameter_may_have_any_name():
    parameter = RuntimeParameter(name="run_id", ptype=int, default=1)
    ir = compiled(Pipeline(pipeline_name="p", pipeline_root="r", components=[nodes.gate(go=parameter)]))
    bind(ir, "id", run_id="2")
    assert ir.nodes[0].pipeline_node.parameters.parameters["go"].field_value.int_value == 2


@pytest.mark.parametrize("given", [{"run_count": "many"}, {"run_count": "2.5"}, {"run_rate": "fast"}, {"other": "1"}])
def test_what_is_not_of_its_type_or_that_nobody_asked_for_is_refused(given):
    with pytest.raises(ConfigError, match="a runtime parameter must be one of"):
        bind(graph(text="a", count=1, rate=0.5), "id", **given)
