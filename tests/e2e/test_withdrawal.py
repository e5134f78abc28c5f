"""A record is withdrawn after a run: out of the data and every copy, and the models that had it in are named."""

import json
import stat

import tensorflow as tf

from components.privacy.entries import WITHDRAW
from tests.e2e.conftest import kept, lockgate, run_tiny


def ids(pattern, compression: str = "") -> set[str]:
    files = [str(file) for file in pattern]
    found = tf.data.TFRecordDataset(files, compression).as_numpy_iterator()
    return {tf.train.Example.FromString(r).features.feature["id"].bytes_list.value[0].decode() for r in found}


def test_a_record_goes_everywhere_and_what_had_it_in_is_named(tmp_path, sample):
    root = tmp_path / "root"
    code, record = run_tiny(root, f"data.root={sample}")
    assert code == 0 and record["pushed"]
    files = [p for p in (root / "artifacts").rglob("*") if p.is_file()]
    assert [str(p) for p in files if stat.S_IMODE(p.stat().st_mode) & 0o077] == []
    gone = sorted(ids(sample.glob("span-1/train/*")))[17]
    settings = ("--config", "tiny", "--set", f"data.root={sample}")
    found = json.loads(lockgate("withdraw", gone, *settings, "--json", root=root).stdout)
    assert [(row["role"], row["records"]) for row in found["removed"]] == [("train", 1)]
    assert gone not in ids(sample.glob("span-1/*/*"))
    assert gone not in ids(root.glob("artifacts/ImportExampleGen/examples/*/Split-*/*"), "GZIP")
    assert record["pushed"]["path"] in [model["served"] for model in found["models"]]
    assert all(model["epsilon"] == record["epsilon"] for model in found["models"]) and found["retrain"]
    last = kept(root).entries[-1]
    assert (last.kind, last.says()["records"]) == (WITHDRAW, 1) and gone not in last.body
    again = json.loads(lockgate("withdraw", gone, *settings, "--json", root=root).stdout)
    assert again == {"removed": [], "copies": [], "models": [], "retrain": [], "left": []}
    assert lockgate("ledger", "verify", root=root).returncode == 0
