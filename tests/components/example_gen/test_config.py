"""The settings of the data: roles and spans, shape and classes."""

import pytest

from components.common.errors import ConfigError
from components.example_gen.config import DataConfig, RolesConfig

ROLES = {role: f"span-{{SPAN}}/{role}/*" for role in ("train", "public", "validation", "holdout")}
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


def test_roles_without_spans_are_fine():
    assert DataConfig(**{**GOOD, "roles": UNSPANNED}).roles.train == "train/*"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_shape": (4, 4)}, "`image_shape` must be .* Received: image_shape=\\[4, 4\\]"),
        ({"image_shape": (4, 0, 1)}, "`image_shape` must be "),
        ({"image_shape": (4, 4, 2)}, "`image_shape` must be .* 1 or 3 channels"),
        ({"classes": ("a",)}, "`classes` must name at least two classes"),
        ({"name": ""}, "`name` must not be empty"),
        ({"window": 2, "roles": UNSPANNED}, "`window` must be 1 where `roles.train` has no {SPAN}. Received: window=2"),
        ({"span": -1}, "`span` must be 0 or more. Received: span=-1"),
    ],
)
def test_a_value_out_of_range_is_refused(change, says):
    with pytest.raises(ConfigError, match=says):
        DataConfig(**{**GOOD, **change})
    assert DataConfig(**GOOD).span is None
