"""CompressionSearch: what it reads, what it writes, and that it finds its journal again."""

import dataclasses
import json
from pathlib import Path

import pytest

from components.common.artifacts import DataCheck, Variant
from components.common.models import save_model
from components.common.settings import to_json
from components.common.tfx_nodes import standard_artifacts
from components.gates.config import GatesConfig
from components.privacy.statement import load_statement
from components.search.component import CompressionSearch
from components.search.config import SearchConfig
from components.search.tries import Bench
from components.shipped.description import broken_promises
from tests.components.settings import DATA, STATEMENT

SETTINGS = SearchConfig(max_drop=0.1, sparsities=(0.5,), clusters=(8,), tries=2)


@pytest.fixture
def run(tmp_path, artifact, execute, parent, public, validation, encode, example, write_split):
    """Runs the node on examples that have no other splits than `public` and `validation`; gives the variant."""
    model, examples = artifact(standard_artifacts.Model, "parent"), artifact(standard_artifacts.Examples, "examples")
    save_model(parent, model.uri)
    STATEMENT.save(model.uri)
    for role, split in (("public", public), ("validation", validation)):
        records = [example(encode(i), int(y)) for i, y in zip(split.images, split.labels, strict=True)]
        write_split(examples.uri, role, records)
    check = artifact(DataCheck, "check")
    counts = {"examples": {"public": 90, "validation": 90, "holdout": 500}}
    Path(check.uri, "check.json").write_text(json.dumps(counts))

    def made(name: str, settings=SETTINGS) -> Variant:
        variant = artifact(Variant, name)
        execute(
            CompressionSearch,
            {"parent": model, "examples": examples, "check": check},
            {"variant": variant},
            config=to_json(settings),
            gates=to_json(GatesConfig(max_drop=0.3, alpha=0.04)),
            data=to_json(DATA),
            recipe="auto",
            competitors=4,
            journals=str(tmp_path / "journals"),
        )
        return variant

    return made


def test_it_writes_a_variant_as_the_quantizer_does_and_how_it_was_found(run, tmp_path):
    variant = run("variant")
    facts, told = (json.loads(Path(variant.uri, name).read_text()) for name in ("variant.json", "search.json"))
    file = Path(variant.uri, "model.tflite").read_bytes()
    assert facts["recipe"] == told["recipe"] == variant.get_string_custom_property("recipe") == "auto"
    assert facts["sha256"] == variant.get_string_custom_property("sha256")
    assert broken_promises(facts, file) == [] and facts["agreement"] > 0.5
    assert load_statement(variant.uri) == STATEMENT
    assert told["target"] == {"max_drop": 0.1, "margin": 0.3, "alpha": 0.01, "holdout": 500, "power": 0.9}
    chosen = next(made for made in told["tries"] if made["key"] == told["chosen"])
    assert (chosen["sha256"], chosen["gzip_bytes"]) == (facts["sha256"], facts["gzip_bytes"])
    assert len(told["tries"]) in (1, 2) and len(told["scan"]) == 3 * 4


def test_a_second_process_finds_every_try_and_another_search_finds_none(run, tmp_path, monkeypatch):
    first = run("first")

    def must_not_run(*_):
        raise AssertionError("a try was made again")

    with monkeypatch.context() as patched:
        patched.setattr(Bench, "run", must_not_run)
        second = run("second")
        with pytest.raises(AssertionError, match="made again"):
            run("other", dataclasses.replace(SETTINGS, clusters=(9,)))
    for name in ("model.tflite", "variant.json", "search.json"):
        assert Path(first.uri, name).read_bytes() == Path(second.uri, name).read_bytes()
    assert len(list(Path(tmp_path, "journals").glob("search-*"))) == 2
