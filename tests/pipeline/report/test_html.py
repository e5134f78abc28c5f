"""The report page, from records of every kind of ending."""

import copy
import re

import pytest

from pipeline.report.html import render
from tests.pipeline.report.records import RECORD, SEARCH


def test_the_page_shows_the_records_figures():
    page = render(RECORD)
    for figure in (
        "84.12 %",
        "84.33 %",
        "−0.21",
        "26.6 KB",
        "98.0 KB",
        "ε\u00a0=\u00a02.50",
        "12,345 declared",
        "8,000",
        "Variant 7",
        "It is private.",
    ):
        assert figure in page


def test_nothing_is_loaded_from_outside():
    page = render(RECORD)
    inside = re.findall(r'(?:src|href)\s*=\s*"#[\w-]+"|url\(#\w+\)', page)
    assert len(re.findall(r"(?:src|href)\s*=|url\(|@import", page)) == len(inside) > 0


@pytest.mark.parametrize("state", ["refused", "failed", "interrupted"])
def test_a_run_that_ended_early_is_a_sentence(state):
    record = {
        **RECORD,
        "state": state,
        "error": "the disk is full",
        "privacy": None,
        "parent": None,
        "variants": [],
        "searches": [],
    }
    page = render({**record, "pushed": None, "nodes": [], "lineage": [], "seconds": None})
    assert "the disk is full" in page and "No variant was judged" in page
    assert not re.search(r">\s*(None|nan)\s*<", page)


def test_hostile_text_is_escaped():
    record = copy.deepcopy(RECORD)
    record["data"]["classes"][0] = record["variants"][0]["recipe"] = record["pushed"]["recipe"] = "<script>x</script>"
    assert "<script>" not in render(record)


def test_the_lineage_marks_what_the_push_was_made_from():
    rows = dict(re.findall(r'<tr id="artifact-(\d+)"( class="behind")?', render(RECORD)))
    assert {id for id, mark in rows.items() if mark} == {"3", "7", "9"}
    assert "8" in rows


def test_the_figures_of_train_are_declared_ones():
    record = copy.deepcopy(RECORD)
    record["data"]["roles"]["train"]["examples"] = 12346
    assert "12,346" not in render(record)


def test_what_the_file_holds_is_beside_what_was_promised():
    page = render(RECORD)
    for figure in ("52.00 %", "≥ 50.00 %", "≤ 8", "Left alone by prune: norm (normalization is small)", "20.0 KB"):
        assert figure in page
    assert "3.40 times the parent’s (3.30 to 3.50)" in page and "Left alone by quantize" not in page


def test_a_variant_trained_for_int8_is_set_against_the_plain_one():
    record = copy.deepcopy(RECORD)
    assert "Trained for int8" not in render(record)
    aware = {**copy.deepcopy(record["variants"][0]), "recipe": "aware", "accuracy": 0.8462}
    record["variants"].append(aware)
    plain = [{"stage": "prune", "sparsity": 0.5}, {"stage": "quantize", "mode": "int8"}]
    trained = [plain[0], {**plain[1], "public": {"epochs": 2}}]
    record["settings"]["recipes"] = {"int8": plain, "aware": trained, "auto": {"max_drop": 0.005}}
    page = render(record)
    assert "Trained for int8" in page and "+0.50" in page
    record["settings"]["recipes"]["int8"] = [{**plain[0], "sparsity": 0.6}, plain[1]]  # another model: no comparison
    assert "Trained for int8" not in render(record)


def test_every_point_that_a_search_tried_is_drawn_and_its_pareto_set_is_a_table():
    page = render(RECORD)
    section = page[page.index("Search: auto") :]
    drawn, table = section[: section.index("</svg>")], section[section.index("<tbody>") : section.index("</section>")]
    assert len(re.findall(r"<use [^>]*fill: var\(--good\)", drawn)) == 2  # within the target
    assert len(re.findall(r"<use [^>]*fill: var\(--bad\)", drawn)) == 2
    assert "chosen: cluster+int8" in drawn and "accuracy on validation, %" in drawn
    rows = re.findall(r'<tr( class="chosen")?><th scope="row">([^<]*)</th><td class="text">([^<]*)</td>', table)
    assert rows == [
        ("", "int8", ""),
        (' class="chosen"', "cluster+int8, chosen", "8 to 64 clusters"),
        ("", "prune+cluster+int8", "80 % zeros, 8 clusters"),
    ]
    assert "27.0 KB" in table and "−0.05" in table and "−0.31" in table and "28.5 KB" not in table


def test_a_search_that_found_nothing_within_its_target_says_so():
    search = {**SEARCH, "within": False, "chosen": "a1"}
    assert "None was within the target" in render({**RECORD, "searches": [search]})
    assert "None was within the target" not in render(RECORD)


def test_a_run_without_a_search_says_nothing_of_one():
    assert "Search:" not in render({**RECORD, "searches": []})
