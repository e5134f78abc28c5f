"""The README's figures are the reviewed ones."""

import json

from benchmarks import readme_table


def test_the_readme_has_the_table_of_the_baselines():
    assert readme_table.main(["--check"]) == 0


def test_another_figure_makes_another_table(monkeypatch, tmp_path):
    (tmp_path / "baselines").mkdir()
    for file in (readme_table.HERE / "baselines").glob("*.json"):
        changed = json.loads(file.read_text())
        if "lines" in changed:
            changed["lines"]["cnn"]["mean"] = 0.5
        (tmp_path / "baselines" / file.name).write_text(json.dumps(changed))
    monkeypatch.setattr(readme_table, "HERE", tmp_path)
    assert "50.00 %" in readme_table.table()
    assert readme_table.main(["--check"]) == 1
