"""The report page, from records of every kind of ending."""

import copy
import re

import pytest

from pipeline.report.html import render

VARIANT = {
    "recipe": "int8",
    "accuracy": 0.8412,
    "drop": 0.0021,
    "bytes": 32100,
    "gzip_bytes": 26600,
    "latency_us": 68.0,
    "sha256": "0" * 64,
    "verdict": "pass",
    "reasons": [],
    "checks": [{"gate": "size", "verdict": "pass", "code": "size_within_limit", "sentence": "It is small."}],
    "confusion": [[5, 1], [0, 6]],
}
RECORD = {
    "run": "20260101-000000-abcd",
    "config": "default",
    "state": "pushed",
    "exit_code": 0,
    "started": "2026-01-01T00:00:00+00:00",
    "seconds": 100.5,
    "error": None,
    "versions": {"lockgate": "0.1.0"},
    "data": {
        "name": "pets",
        "span": 1,
        "classes": ["cat", "dog"],
        "public_source": "elsewhere",
        "roles": {"train": {"examples": 12, "pattern": "train/*"}},
    },
    "privacy": {"epsilon": 2.5, "delta": 1e-5, "statement": "It is private.\n\nNot all of it."},
    "parent": {"accuracy": 0.8433, "bytes": 107000, "gzip_bytes": 98000, "latency_us": 20.0, "confusion": [[5, 1], [0, 6]]},
    "max_drop": 0.01,
    "variants": [VARIANT],
    "pushed": {"recipe": "int8", "path": "p", "sha256": "0" * 64, "version": 1},
    "nodes": [{"id": "DPTrainer", "state": "ran", "seconds": 40.0}],
    "lineage": [{"artifact": 7, "type": "Variant", "node": "Quantizer-int8", "execution": 5, "inputs": [2, 3]}],
    "settings": {"name": "default"},
}


def test_the_page_shows_the_records_figures():
    page = render(RECORD)
    for figure in ("84.12 %", "84.33 %", "-0.21", "26.6 KB", "98.0 KB", "ε = 2.50", "Quantizer-int8", "It is private."):
        assert figure in page


def test_nothing_is_loaded_from_outside():
    assert re.findall(r"(?:src|href)\s*=|url\(|@import", render(RECORD)) == []


@pytest.mark.parametrize("state", ["refused", "failed", "interrupted"])
def test_a_run_that_ended_early_is_a_sentence(state):
    record = {**RECORD, "state": state, "error": "the disk is full", "privacy": None, "parent": None, "variants": []}
    page = render({**record, "pushed": None, "nodes": [], "lineage": [], "seconds": None})
    assert "the disk is full" in page and "No variant was judged" in page
    assert not re.search(r">\s*(None|nan)\s*<", page)


def test_hostile_text_is_escaped():
    record = copy.deepcopy(RECORD)
    record["data"]["classes"][0] = record["variants"][0]["recipe"] = record["pushed"]["recipe"] = "<script>x</script>"
    assert "<script>" not in render(record)
