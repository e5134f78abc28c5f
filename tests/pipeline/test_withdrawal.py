"""`withdraw` and the ledger's witness: on a ledger that was put back, nothing is taken out."""

import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from components.common.errors import LedgerError
from components.example_gen.withdrawal import Withdrawn
from components.privacy.accounting import Mechanism
from components.privacy.config import PrivacyConfig
from components.privacy.entries import WITHDRAW
from components.privacy.ledger import Ledger
from components.privacy.lineage import Descendant
from components.privacy.witness import LineageWitness
from pipeline.config import load
from pipeline.places import places_of
from pipeline.withdrawal import retraining, withdraw

RUN = Mechanism(noise_multiplier=2.0, sampling_probability=0.05, steps=200)
POLICY = PrivacyConfig(epsilon=1.0, delta=1e-5, budget_epsilon=8.0)
WANTED = Withdrawn(ids=frozenset({"b"}))


@pytest.fixture
def data(tmp_path) -> Path:
    """A file of records a, b and c, where the tiny preset looks for `train`."""
    file = tmp_path / "data" / "span-1" / "train" / "images-00000-of-00001.tfrecord"
    file.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name in (b"a", b"b", b"c"):
            feature = {"id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[name]))}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return file


@pytest.fixture
def root(tmp_path) -> Path:
    """A root whose MLMD has seen two entries of its ledger; a copy from after the first lies beside it."""
    (tmp_path / "root").mkdir()
    path = tmp_path / "root" / "ledger.sqlite"
    ledger = Ledger(path, LineageWitness(str(tmp_path / "root" / "metadata.sqlite")))
    charge = ledger.reserve(["fashion-mnist/span-1"], "1", RUN, POLICY).id
    shutil.copyfile(path, path.with_suffix(".old"))
    ledger.settle(charge, 200)
    return path.parent


def taken(data: Path, root: Path) -> dict:
    config = load("tiny", [f"data.root={data.parents[2]}"])
    return withdraw(config, root, places_of(root, config.name), WANTED)


def test_on_a_ledger_that_was_put_back_nothing_is_taken_out(data, root):
    before = data.read_bytes()
    shutil.copyfile(root / "ledger.old", root / "ledger.sqlite")
    with pytest.raises(LedgerError, match="entry 2, which a run has seen, must be there: the newest here is 1"):
        taken(data, root)
    assert data.read_bytes() == before and len(Ledger(root / "ledger.sqlite").export()) == 1


def test_the_witness_has_seen_the_withdrawal(data, root):
    assert [row["records"] for row in taken(data, root)["removed"]] == [1]
    last = Ledger(root / "ledger.sqlite").export()[-1]
    assert (last.kind, last.says()["records"]) == (WITHDRAW, 1)
    assert LineageWitness(str(root / "metadata.sqlite")).head() == last.head


def test_records_go_from_dated_spans_and_from_files_that_hold_shares(data, root):
    """The roles that have no files of their own are not looked for, and `train`'s are taken up once."""
    folder = data.parents[2]
    for day in ("2026-11-26", "2026-11-27"):
        (folder / day / "train").mkdir(parents=True)
        shutil.copyfile(data, folder / day / "train" / "a.tfrecord")
    dated = [f'data.roles.{role}="{{YYYY}}-{{MM}}-{{DD}}/{role}/*"' for role in ("train", "public")]
    shares = ['data.roles.holdout=""', 'data.roles.validation=""', "data.shares={holdout=0.2, validation=0.1}"]
    config = load("tiny", [f"data.root={folder}", *dated, *shares])
    told = withdraw(config, root, places_of(root, config.name), WANTED)
    assert [(row["role"], Path(row["file"]).parts[-3], row["records"]) for row in told["removed"]] == [
        ("train", "2026-11-26", 1),
        ("train", "2026-11-27", 1),
    ]


def test_what_to_retrain_says_how_a_window_and_a_warm_start_get_rid_of_them():
    model = Descendant(artifact=1, kind="Model", uri="u", epsilon=1.0, served=None)
    (run,) = retraining(load("tiny"), [model])
    assert run.startswith("a run of tiny on the span (lockgate run, or lockgate kubeflow run") and "anew" in run
    assert retraining(load("tiny"), []) == []
    _, window, start = retraining(load("tiny", ["data.window=0", "trainer.warm_start=true"]), [model])
    assert "data.span on each span that lost records" in window and "trainer.warm_start=false" in start
