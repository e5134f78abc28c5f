"""Settings: strict conversion, one-line errors with dotted names, and the round trip through JSON."""

import json
import math
from dataclasses import dataclass

import pytest

from components.common.errors import ConfigError
from components.common.settings import (
    from_json,
    from_mapping,
    require_fraction,
    require_positive,
    to_json,
)


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float

    def __post_init__(self):
        require_fraction("rate", self.rate, low_open=True)


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    inner: Inner
    shape: tuple[int, ...] = (1, 2)
    name: str | None = None
    on: bool = False
    table: dict[str, float] = None
    inners: tuple[Inner, ...] = ()


GOOD = {"count": 3, "inner": {"rate": 0.5}}


def test_values_defaults_and_nesting():
    made = from_mapping(Outer, {**GOOD, "shape": [4, 5], "table": {"a": 1}, "inners": [{"rate": 1}]}, "")
    assert made == Outer(count=3, inner=Inner(rate=0.5), shape=(4, 5), table={"a": 1.0}, inners=(Inner(rate=1.0),))
    assert type(made.inners[0].rate) is float and type(made.table["a"]) is float


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"count": 3.0}, "`top.count` must be an integer. Received: top.count=3.0"),
        ({"count": True}, "`top.count` must be an integer. Received: top.count=True"),
        ({"count": "3"}, "`top.count` must be an integer. Received: top.count='3'"),
        ({"on": 1}, "`top.on` must be true or false. Received: top.on=1"),
        ({"name": 1}, "`top.name` must be a string. Received: top.name=1"),
        ({"shape": 4}, "`top.shape` must be a list. Received: top.shape=4"),
        ({"shape": "45"}, "`top.shape` must be a list. Received: top.shape='45'"),
        ({"shape": [1, "x"]}, "`top.shape[1]` must be an integer. Received: top.shape[1]='x'"),
        ({"table": [1]}, "`top.table` must be a table. Received: top.table=[1]"),
        ({"table": {"a": "x"}}, "`top.table.a` must be a number. Received: top.table.a='x'"),
        ({"inner": 3}, "`top.inner` must be a table. Received: top.inner=3"),
        ({"inner": {}}, "`top.inner.rate` must be set. Received: nothing"),
        ({"inner": {"rate": 0}}, "`top.inner.rate` must be in (0, 1]. Received: top.inner.rate=0.0"),
        ({"inner": {"rate": 1.5}}, "`top.inner.rate` must be in (0, 1]. Received: top.inner.rate=1.5"),
        ({"inner": {"rate": math.nan}}, "`top.inner.rate` must be in (0, 1]. Received: top.inner.rate=nan"),
        ({"inner": {"rate": False}}, "`top.inner.rate` must be a number. Received: top.inner.rate=False"),
        (
            {"inners": [{"rate": 0.5}, {"rate": 7}]},
            "`top.inners[1].rate` must be in (0, 1]. Received: top.inners[1].rate=7.0",
        ),
        ({"speed": 1}, "`top.speed` is not a setting. Known here: count, inner, inners, name, on, shape, table"),
    ],
)
def test_a_slip_is_one_line_with_the_dotted_name(change, says):
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, {**GOOD, **change}, "top")
    assert str(caught.value) == says


def test_an_integer_too_large_for_a_float_is_a_slip():
    with pytest.raises(ConfigError, match="^`inner.rate` must be a number below"):
        from_mapping(Outer, {**GOOD, "inner": {"rate": 10**400}}, "")


def test_a_list_where_the_whole_table_is_meant_is_refused():
    with pytest.raises(ConfigError, match="^`top` must be a table. Received: top="):
        from_mapping(Outer, [1], "top")


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_positive_means_finite_and_above_zero(value):
    with pytest.raises(ConfigError, match="^`x` must be a finite number above 0. Received: x="):
        require_positive("x", value)
    require_positive("x", 1e-300)


@pytest.mark.parametrize(
    ("value", "open_ends", "good"),
    [
        (0, {}, True),
        (1, {}, True),
        (0, {"low_open": True}, False),
        (1, {"high_open": True}, False),
        (0.5, {"low_open": True, "high_open": True}, True),
        (-1e-9, {}, False),
    ],
)
def test_the_ends_of_a_fraction(value, open_ends, good):
    if good:
        require_fraction("x", value, **open_ends)
    else:
        with pytest.raises(ConfigError, match="^`x` must be in"):
            require_fraction("x", value, **open_ends)


def test_json_and_back_is_the_same_and_the_text_is_canonical():
    made = from_mapping(Outer, {**GOOD, "shape": [9], "table": {"b": 2, "a": 1}, "inners": [{"rate": 1}]}, "")
    assert from_json(Outer, to_json(made)) == made
    assert to_json(made) == to_json(from_json(Outer, json.dumps(json.loads(to_json(made)), indent=3)))
    assert list(json.loads(to_json(made))) == sorted(json.loads(to_json(made)))
