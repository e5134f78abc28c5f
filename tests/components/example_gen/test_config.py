"""The settings of the data: roles and spans, shape and classes."""

import pytest

from components.common.errors import ConfigError
from components.example_gen.config import DataConfig, RolesConfig, SharesConfig

ROLES = {role: f"span-{{SPAN}}/{role}/*" for role in ("train", "public", "validation", "holdout")}
DATED = {role: f"{{YYYY}}/{{MM}}-{{DD}}/{role}/*" for role in ROLES}
UNSPANNED = RolesConfig(**{role: f"{role}/*" for role in ROLES})
GOOD = {
    "name": "d",
    "root": "r",
    "schema": "s",
    "roles": RolesConfig(**ROLES),
    "image_shape": (4, 4, 1),
    "classes": ("a", "b"),
    "public_source": "",
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"public": ""}, r"^`public` must name a split .* Received: public=''$"),
        ({"holdout": ROLES["train"]}, "^`train` must name another split than `holdout` does"),
        ({"train": "span-{SPAN}/train/{SPAN}-*"}, "^`train` must have {SPAN} at most once"),
        ({"public": "public/*"}, "^`public` must have {SPAN} where `train` has it, and only there"),
        ({"train": "train/*"}, "^`public` must have {SPAN} where `train` has it, and only there"),
    ],
)
def test_roles_that_cannot_be_told_apart_or_spanned_are_refused(change, says):
    with pytest.raises(ConfigError, match=says):
        RolesConfig(**{**ROLES, **change})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"public": "{YYYY}/{MM}/public/*"}, "^`public` must have {YYYY}, {MM} and {DD} once each"),
        ({"public": "{YYYY}/{MM}-{DD}/{SPAN}/*"}, "^`public` must have .* no {SPAN} beside them"),
        ({"public": ROLES["public"]}, "^`public` must have {YYYY}, {MM} and {DD} where `train` has it, and only there"),
        ({"public": "public/*"}, "^`public` must have {YYYY}, {MM} and {DD} where `train` has it"),
    ],
)
def test_dated_roles_that_do_not_agree_are_refused(change, says):
    assert RolesConfig(**DATED).patterns() == DATED
    with pytest.raises(ConfigError, match=says):
        RolesConfig(**{**DATED, **change})


def test_roles_without_spans_are_fine():
    assert DataConfig(**{**GOOD, "roles": UNSPANNED}).roles.train == "train/*"


def test_roles_that_are_empty_have_no_pattern():
    assert list(RolesConfig(train="a", public="b").patterns()) == ["train", "public"]


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ({"holdout": 1.0}, r"^`holdout` must be in \[0, 1\)"),
        ({"validation": -0.1}, r"^`validation` must be in \[0, 1\)"),
        ({"validation": 0.5, "holdout": 0.5}, "^`holdout` must leave something to train"),
    ],
)
def test_shares_leave_something_to_train(shares, says):
    with pytest.raises(ConfigError, match=says):
        SharesConfig(**shares)
    assert SharesConfig(holdout=0.2).taken() == {"holdout": 0.2}
    assert SharesConfig().taken() == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_shape": (4, 4)}, "`image_shape` must be .* Received: image_shape=\\[4, 4\\]"),
        ({"image_shape": (4, 0, 1)}, "`image_shape` must be "),
        ({"image_shape": (4, 4, 2)}, "`image_shape` must be .* 1 or 3 channels"),
        ({"classes": ("a",)}, "`classes` must name at least two classes"),
        ({"name": ""}, "`name` must not be empty"),
        ({"window": 2, "roles": UNSPANNED}, "`window` must be 1 where `roles.train` names no span. Received: window=2"),
        ({"span": -1}, "`span` must be 0 or more. Received: span=-1"),
        (
            {"roles": RolesConfig(**DATED), "span": 20261127},
            "`span` must be a date, or days since 1970-01-01. Received: span=20261127",
        ),
        (
            {"shares": SharesConfig(holdout=0.2)},
            "`roles.holdout` must name a split .*, or have a share in data.shares. Received: roles.holdout='span-",
        ),
        (
            {"roles": RolesConfig(**{**ROLES, "validation": ""})},
            "`roles.validation` must name a split .* or have a share",
        ),
        ({"marker": "a/b"}, "`marker` must be the name of a file"),
        ({"marker": ".."}, "`marker` must be the name of a file"),
        (
            {"marker": "_SUCCESS", "roles": RolesConfig(**{role: f"{role}/*" for role in ROLES})},
            "`marker` must be empty, unless every role's files lie in a folder named after the span",
        ),
        (
            {"marker": "_SUCCESS", "roles": RolesConfig(**{**ROLES, "train": "train-{SPAN}"})},
            "`marker` must be empty, unless",
        ),
        (
            {"marker": "_SUCCESS", "roles": RolesConfig(**{**ROLES, "train": "*/{SPAN}/x"})},
            "`marker` must be empty, unless",
        ),
    ],
)
def test_a_value_out_of_range_is_refused(change, says):
    with pytest.raises(ConfigError, match=says):
        DataConfig(**{**GOOD, **change})
    assert DataConfig(**GOOD).span is None


def test_a_marker_and_shares_are_taken():
    roles = RolesConfig(**{**DATED, "holdout": ""})
    made = DataConfig(
        **{**GOOD, "roles": roles, "marker": "_SUCCESS", "shares": SharesConfig(holdout=0.2), "span": 20784}
    )
    assert (made.marker, made.shares.holdout, made.span) == ("_SUCCESS", 0.2, 20784)
