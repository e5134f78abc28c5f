"""The configuration: every slip is one line before anything starts."""

import pytest

from components.common.errors import ConfigError
from pipeline.config import load


@pytest.mark.parametrize("preset", ["default", "full", "tiny"])
def test_presets_load(preset):
    config = load(preset)
    assert config.name == preset
    recipes = [r.name for r in config.recipes]
    every = ["int8", "prune+int8", "cluster+int8", "prune+cluster+int8"]
    default, full = [every[0], "int8-trained", *every[1:]], ["int8", "cluster7+int8"]
    assert recipes == {"default": default, "tiny": every, "full": full}[preset]


def test_overrides_take_toml_values_and_plain_strings():
    config = load("default", ["gates.max_bytes=1", "trainer.learning_rate=2", "data.public_source=elsewhere"])
    assert (config.gates.max_bytes, config.trainer.learning_rate, config.data.public_source) == (1, 2.0, "elsewhere")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainer.stepps=3", "`trainer.stepps` is not a setting"),
        ("colour=1", "`colour` is not a setting"),
        ("trainer.steps=many", "`trainer.steps` must be an integer"),
        ("trainer.steps=true", "`trainer.steps` must be an integer"),
        ("trainer.steps=0", "`trainer.steps` must be at least 1. Received: trainer.steps=0"),
        ("gates.max_drop=1.5", "`gates.max_drop` must be in"),
        ("gates.max_drop=nan", "`gates.max_drop` must be in"),
        ("privacy.epsilon=inf", "`privacy.epsilon` must be a finite number"),
        ("recipes.bad=[]", "`recipes.bad` must be a list of at least one stage, or a table with `max_drop`"),
        ("recipes.bad={}", "`recipes.bad.max_drop` must be set"),
        ("recipes.bad={max_drop=2}", "`recipes.bad.max_drop` must be in [0, 1]. Received: recipes.bad.max_drop=2"),
        ("recipes.bad={max_drop=0.01, epochs=2}", "`recipes.bad.epochs` is not a setting"),
        ("recipes.bad={max_drop=0.01, public={epochs=0}}", "`recipes.bad.public.epochs` must be 1 or more"),
        ('recipes.bad=[{stage="shrink"}]', "must be one of prune, cluster, quantize"),
        ('recipes.bad=[{stage="prune", sparsity=0.5}]', "end with quantize, which writes the .tflite"),
        (
            'recipes.bad=[{stage="cluster", clusters=8}, {stage="prune", sparsity=0.5}, {stage="quantize"}]',
            "`recipes.bad` must prune before it clusters: pruning clustered weights drops whole centroids",
        ),
        ('recipes.bad=[{stage="quantize"}, {stage="quantize"}]', "`recipes.bad` must have each stage once"),
        (
            'recipes.bad=[{stage="quantize"}, {stage="prune", sparsity=0.5}, {stage="quantize"}]',
            "`recipes.bad` must have each stage once",
        ),
        (
            'recipes.bad=[{stage="quantize", mode="float16", public={epochs=1}}]',
            "`recipes.bad[0].mode` must be one of int8, int16x8, dynamic to be trained for",
        ),
        (
            'recipes.bad=[{stage="quantize", public={epochs=0}}]',
            "`recipes.bad[0].public.epochs` must be 1 or more. Received: recipes.bad[0].public.epochs=0",
        ),
        ('recipes.bad=[{stage="prune", sparsity=2}, {stage="quantize"}]', "`recipes.bad[0].sparsity` must be in"),
        (
            'recipes.bad=[{stage="quantize", public={epochs=1}, private={epsilon=1.0, steps=1, expected_batch_size=1, '
            "l2_norm_clip=1.0, learning_rate=1.0}}]",
            "a stage fine-tunes on one split",
        ),
        (
            'recipes.bad=[{stage="quantize", private={epsilon=1.0, steps=1, expected_batch_size=18001, '
            "l2_norm_clip=1.0, learning_rate=1.0}}]",
            "`recipes.bad[0].private.expected_batch_size` must be at most population (18000)",
        ),
        ('data.roles.holdout=""', "`data.roles.holdout` must name a split"),
        ('data.roles.public="span-{SPAN}/train/*.tfrecord"', "must name another split than"),
        ("data.window=-1", "`data.window` must be 0 (all spans) or more. Received: data.window=-1"),
        ("nothing", "`--set` must be key=value"),
    ],
)
def test_a_slip_is_one_line(override, says):
    with pytest.raises(ConfigError) as caught:
        load("default", [override])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_role_is_named(tmp_path):
    text = (
        "name = 'x'\n[data]\nname='x'\nroot='.'\nschema='s'\nimage_shape=[1,1,1]\nclasses=['a','b']\npublic_source=''\n"
    )
    (tmp_path / "c.toml").write_text(text + "[data.roles]\ntrain='a'\npublic='b'\nvalidation='c'\n")
    with pytest.raises(ConfigError, match="`data.roles.holdout` must be set"):
        load(str(tmp_path / "c.toml"))


def test_a_recipe_by_accuracy_is_a_table_beside_lists():
    config = load("default", ["recipes.auto={max_drop=0.005, public={epochs=2}, clusters=[16, 8]}"])
    auto = config.recipes[-1]
    assert (auto.name, auto.stages, auto.search.max_drop, auto.search.clusters) == ("auto", (), 0.005, (16, 8))
    assert all(recipe.search is None and recipe.stages for recipe in config.recipes[:-1])
    told = config.as_dict()["recipes"]
    assert told["auto"]["public"]["epochs"] == 2 and told["auto"]["tries"] == auto.search.tries
    assert told["int8"][0]["stage"] == "quantize"


def test_a_warm_start_wants_spans():
    roles = [f'data.roles.{role}="{role}/*"' for role in ("train", "public", "validation", "holdout")]
    assert load("default", ["trainer.warm_start=true"]).trainer.warm_start
    with pytest.raises(ConfigError, match="`trainer.warm_start` must be false where `data.roles.train` has no"):
        load("default", ["trainer.warm_start=true", *roles])
