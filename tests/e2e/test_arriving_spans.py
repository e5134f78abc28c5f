"""Dated spans with a marker, of which each brings its own holdout: from the folder to the push."""

import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from components.example_gen.config import SharesConfig
from components.example_gen.shares import role_of
from pipeline.config import PRESETS
from tests.e2e.conftest import SAMPLE, lockgate

SHARES = SharesConfig(holdout=0.5, validation=0.2)
TABLE = f"[data.shares]\nholdout = {SHARES.holdout}\nvalidation = {SHARES.validation}\n\n"
RECIPE = '[recipes]\n"int8" = [{ stage = "quantize", mode = "int8" }]\n'


@pytest.fixture
def images(tmp_path) -> Path:
    """3,000 private and 1,000 public images that came on New Year's Eve, and a day that is still being written."""
    for day, role, shards in (
        ("2026-12-31", "train", slice(3)),
        ("2026-12-31", "public", slice(1)),
        ("2027-01-01", "train", slice(3, 4)),
        ("2027-01-01", "public", slice(1, 2)),
    ):
        folder = tmp_path / "images" / day / role
        folder.mkdir(parents=True)
        for file in sorted((SAMPLE / "span-1" / role).iterdir())[shards]:
            shutil.copyfile(file, folder / file.name)
    (tmp_path / "images" / "2026-12-31" / "_SUCCESS").touch()
    return tmp_path / "images"


@pytest.fixture
def config(tmp_path, images) -> str:
    """The tiny preset with one recipe, on these folders."""
    text = (PRESETS / "tiny.toml").read_text().split("[recipes]")[0] + RECIPE
    kept = [
        line for line in text.splitlines() if not line.startswith(("validation =", "holdout =", "root =", "schema ="))
    ]
    places = f'[data]\nroot = "{images}"\nschema = "{PRESETS / "fashion_mnist.pbtxt"}"\nmarker = "_SUCCESS"'
    text = "\n".join(kept).replace("[data]", places).replace("[privacy]", TABLE + "[privacy]")
    text = text.replace("span-{SPAN}", "{YYYY}-{MM}-{DD}").replace("images-00000-*", "*")
    file = tmp_path / "nightly.toml"
    file.write_text(text.replace("population = 1000", "population = 900"))
    return str(file)


def ids(folder: Path) -> set[bytes]:
    files = [str(path) for path in folder.iterdir()]
    rows = tf.data.TFRecordDataset(files, "GZIP" if files[0].endswith(".gz") else "").as_numpy_iterator()
    return {tf.train.Example.FromString(r).features.feature["id"].bytes_list.value[0] for r in rows}


def test_the_newest_complete_day_is_trained_on_and_judged_by_its_own_holdout(tmp_path, images, config):
    root = tmp_path / "root"
    done = lockgate("run", "--config", config, "--json", root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout)
    assert record["pushed"]["recipe"] == "int8"
    (record,) = (json.loads(path.read_text()) for path in root.glob("runs/*/run.json"))
    assert (record["data"]["span"], record["data"]["span_name"]) == (20818, "2026-12-31")
    assert "2026-12-31" in Path(record["report"]).read_text()
    (made,) = root.glob("artifacts/ImportExampleGen/examples/*")
    given = ids(images / "2026-12-31" / "train")
    for role in ("train", "validation", "holdout"):
        assert ids(made / f"Split-{role}") == {id for id in given if role_of(id, b"", SHARES) == role}
    counts = {role: split["examples"] for role, split in record["data"]["roles"].items()}
    assert counts["train"] is None and counts["holdout"] == len(ids(made / "Split-holdout")) > 1400
    assert record["data"]["roles"]["holdout"]["pattern"] == "0.5 of {YYYY}-{MM}-{DD}/train/*.tfrecord, by hash"
    refused = lockgate("run", "--config", config, "--set", "data.span=2027-01-01", root=root)
    assert refused.returncode == 2 and "span 2027-01-01 must have its marker" in refused.stderr
