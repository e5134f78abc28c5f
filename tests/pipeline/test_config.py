"""The configuration: every slip is one line before anything starts."""

from pathlib import Path

import pytest

from components.common.errors import ConfigError
from pipeline.config import PRESETS, from_dict, load


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
        (f"name={64 * 'n'}", "`name` must be of a-z, 0-9, +, ., _ and -, at most 63 of them"),
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
    with pytest.raises(ConfigError, match="`data.roles.holdout` must name a split"):
        load(str(tmp_path / "c.toml"))


def test_a_recipe_by_accuracy_is_a_table_beside_lists():
    config = load("default", ["recipes.auto={max_drop=0.005, public={epochs=2}, clusters=[16, 8]}"])
    auto = config.recipes[-1]
    assert (auto.name, auto.stages, auto.search.max_drop, auto.search.clusters) == ("auto", (), 0.005, (16, 8))
    assert all(recipe.search is None and recipe.stages for recipe in config.recipes[:-1])
    told = config.as_dict()["recipes"]
    assert told["auto"]["public"]["epochs"] == 2 and told["auto"]["tries"] == auto.search.tries
    assert told["int8"][0]["stage"] == "quantize"


DATED = [
    f'data.roles.{role}="{{YYYY}}-{{MM}}-{{DD}}/{role}/*"' for role in ("train", "public", "validation", "holdout")
]


@pytest.mark.parametrize("span", ["2026-11-27", '"2026-11-27"', "20784"])
def test_a_dated_span_is_named_by_its_date_or_its_number(span):
    config = load("tiny", [*DATED, f"data.span={span}"])
    assert config.data.span == 20784 and from_dict(config.as_dict()) == config


@pytest.mark.parametrize("span", ["2026-02-30", "1969-12-31", "tomorrow", "2026-11-27T10:00:00"])
def test_what_is_no_date_is_one_line(span):
    with pytest.raises(
        ConfigError, match="^`data.span` must be a date like 2026-11-27, from 1970-01-01 on. Received: "
    ):
        load("tiny", [*DATED, f"data.span={span}"])


def test_a_date_where_spans_have_numbers_is_refused():
    with pytest.raises(ConfigError, match="^`data.span` must be an integer"):
        load("tiny", ["data.span=2026-11-27"])


def test_a_date_in_a_file_is_taken_and_a_share_replaces_a_pattern(tmp_path):
    text = Path(PRESETS / "tiny.toml").read_text()
    text = text.replace("span-{SPAN}", "{YYYY}/{MM}-{DD}").replace(
        "[data]", '[data]\nspan = 2024-02-29\nmarker = "_OK"'
    )
    lines = [line for line in text.splitlines() if not line.startswith(("holdout =", "validation ="))]
    (tmp_path / "c.toml").write_text("\n".join(lines).replace("[privacy]", SHARES + "[privacy]"))
    data = load(str(tmp_path / "c.toml"), [f"data.schema={PRESETS / 'fashion_mnist.pbtxt'}"]).data
    assert (data.span, data.marker, data.shares.taken()) == (19782, "_OK", {"validation": 0.05, "holdout": 0.2})
    assert list(data.roles.patterns()) == ["train", "public"]


SHARES = "[data.shares]\nholdout = 0.2\nvalidation = 0.05\n"


def test_a_warm_start_wants_spans():
    roles = [f'data.roles.{role}="{role}/*"' for role in ("train", "public", "validation", "holdout")]
    assert load("default", ["trainer.warm_start=true"]).trainer.warm_start
    with pytest.raises(ConfigError, match="`trainer.warm_start` must be false where `data.roles.train` names no"):
        load("default", ["trainer.warm_start=true", *roles])
