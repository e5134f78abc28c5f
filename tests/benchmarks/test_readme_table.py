"""The README's figures are the reviewed ones."""

import json

from benchmarks import readme_table


def test_the_readme_has_the_tables_of_the_baselines():
    assert readme_table.main(["--check"]) == 0


def test_another_figure_makes_another_table(monkeypatch, tmp_path):
    (tmp_path / "baselines").mkdir()
    for file in (readme_table.HERE / "baselines").glob("*.json"):
        changed = json.loads(file.read_text())
        if "lines" in changed:
            changed["lines"]["cnn"]["mean"] = 0.5
        (tmp_path / "baselines" / file.name).write_text(json.dumps(changed))
    monkeypatch.setattr(readme_table, "HERE", tmp_path)
    assert "50.00 %" in readme_table.tables()
    assert readme_table.main(["--check"]) == 1


def figures(drop: float, **more) -> dict:
    intervals = [[drop - 0.001, drop + 0.001], [drop - 0.002, drop + 0.003]]
    runs = [{"drop_interval": interval} for interval in intervals]
    return {"parent": 0.925, "drop": drop, "gzip_ratio": 4.25, "download_ratio": 5.0, "runs": runs, **more}


def test_a_line_of_compression_shows_what_it_loses_and_the_guide_beside_it():
    lines = {
        "lenet5/int8": {"ours": figures(-0.0001)},
        "lenet5/qat": {"ours": figures(0.0005), "guide": figures(0.01, gzip_ratio=4.0)},
        "lenet5/pqat": {"ours": figures(0.002), "guide": {"refused": "No."}},
        "ds_cnn/int8": {"ours": figures(0.5)},
    }
    bounds = {"lenet5/qat": {"at_most": {"drop": 0.001}}, "lenet5/pqat": {"at_least": {"zeros": 0.5}}}
    made = readme_table.compression_table({"bounds": bounds, "measured": {"lines": lines}}, "lenet5")
    assert made[0].startswith("| LeNet-5, 92.5 % |")
    assert made[2:] == [
        "| int8 | -0.01 (-0.21 to 0.29) |  | 4.2× | 5.0× |  |  |",
        "| qat | 0.05 (-0.15 to 0.35) | ≤ 0.1 | 4.2× | 5.0× | 1.00 (0.80 to 1.30) | 4.0× |",
        "| pqat | 0.20 (0.00 to 0.50) |  | 4.2× | 5.0× | refused |  |",
    ]
