"""Spans that go, or are written anew, while a night reads them: they are named, and those after them are trained on."""

import json
import shutil
import time
from pathlib import Path

from components.privacy.ledger import Ledger
from tests.e2e.conftest import lockgate
from tests.e2e.nights import Images, records, retraining, running, write_config


def begins_to_read(night, root: Path, seen: set[Path]) -> None:
    """Waits until a run has looked up its span's files and is about to read them."""
    while night.poll() is None and not set(root.glob("artifacts/ImportExampleGen/examples/*")) - seen:
        time.sleep(0.02)
    seen |= set(root.glob("artifacts/ImportExampleGen/examples/*"))


def test_spans_that_change_while_they_are_read(tmp_path):
    """The first goes, the second is written anew and not whole yet, the third goes once it has been read."""
    data, root, told = tmp_path / "data", tmp_path / "root", tmp_path / "told"
    data.mkdir()
    settings = {"schedule": {"command": f"tee -a {told}"}, "trainer": {"population": 300, "steps": 6}}
    config, images = write_config(tmp_path, data, **settings), Images(600)
    folders, seen = [images.arrive(data, span) for span in (1, 2, 3)], set()
    night = retraining(config, root)
    begins_to_read(night, root, seen)
    shutil.rmtree(folders[0])
    begins_to_read(night, root, seen)
    shutil.rmtree(folders[1])
    images.arrive(data, 2, marker=False)
    begins_to_read(night, root, seen)
    assert any("ImportSchemaGen" in line for line in night.stdout)
    shutil.rmtree(folders[2])
    out, err = night.communicate(timeout=300)

    assert (night.returncode, err) == (0, "") and "Traceback" not in out
    ended = [(r["data"]["span"], r["exit_code"], r["error"]) for r in records(root)]
    line = "span-{} must stay as it is while it is read. Its files under {} changed or went"
    assert ended == [(1, 2, line.format(1, data)), (2, 2, line.format(2, data)), (3, 0, None)]
    heard = [json.loads(line) for line in told.read_text().replace("}{", "}\n{").splitlines()]
    assert [(m["span"], m["outcome"], m["error"]) for m in heard] == [
        (n, "failed", line.format(n, data)) for n in (1, 2)
    ]
    assert running(root) == 0
    book = Ledger(root / "ledger.sqlite").book()
    assert [(c.spans, c.executed) for c in book.charges.values()] == [(("nightly/span-3",), 6)]

    status = ("status", "--config", str(config), "--json")
    stands = json.loads(lockgate(*status, root=root).stdout)
    assert [s["span"] for s in stands["waiting"]] == ["span-2"] and stands["due"] == []
    (folders[1] / "_SUCCESS").touch()
    assert json.loads(lockgate(*status, root=root).stdout)["due"] == ["span-2"]
