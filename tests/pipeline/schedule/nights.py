"""A root with nights behind it, as `status` sees it."""

import copy
import dataclasses
import datetime
import json
from pathlib import Path

from components.gates.push import serving
from pipeline.places import places_of
from pipeline.report.html import page
from pipeline.schedule.status import status
from tests.pipeline.report.records import RECORD, VARIANT
from tests.pipeline.schedule.history import settings

NOW = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.timezone.utc)
BUDGET = (
    "span nightly/span-7 must keep ε at most 4 at δ = 1e-5. The run would take it to 4.31: "
    "lower privacy.epsilon, or raise the budget. Nothing private was read"
)


class Nights:
    """A root with nights behind it, and the folder of its data."""

    def __init__(self, folder: Path):
        self.root, self.data = folder / "root", folder / "data"
        self.data.mkdir()
        config = settings(self.data)
        schedule = dataclasses.replace(config.schedule, cron="0 2 * * *", time_zone="Europe/Berlin")
        images = dataclasses.replace(config.data, name="nightly", marker="_SUCCESS")
        self.config = dataclasses.replace(config, data=images, schedule=schedule)

    def arrives(self, span: int, whole: bool = True, marked: bool = True) -> None:
        for role in ("t", "p"):
            folder = self.data / f"span-{span}" / role
            folder.mkdir(parents=True)
            (folder / "images").write_bytes(b"" if whole else b"cut off")
        if marked:
            (self.data / f"span-{span}" / "_SUCCESS").touch()

    def pushes(self, span: int, spans: list[int]) -> None:
        version = span
        content, names = f"model {version}".encode(), [f"nightly/span-{n}" for n in spans]
        figures = {"recipe": "int8", "accuracy": 0.8412, "epsilon": 2.5, "delta": 1e-5, "gzip_bytes": 26600}
        told = {**figures, "sha256": f"{version:064}", "spans": names}
        folder = places_of(self.root, self.config.name).serving
        number, path = serving.push(folder, {"model.tflite": content, "manifest.json": json.dumps(told).encode()})
        pushed = {"recipe": "int8", "path": str(path), "sha256": told["sha256"], "version": number}
        self._record(span, pushed=pushed, privacy={**RECORD["privacy"], "spans": names})

    def refuses(self, span: int, error: str | None, cause: str, reasons: list[str] | None = None) -> None:
        variants = [{**VARIANT, "verdict": "fail", "reasons": reasons}] if reasons else []
        privacy = {**RECORD["privacy"], "spans": [f"nightly/span-{span}"]} if reasons else None
        ended = {"state": "refused", "exit_code": 3, "cause": cause, "error": error}
        self._record(span, pushed=None, variants=variants, privacy=privacy, **ended)

    def fails(self, span: int, error: str) -> None:
        self._record(
            span, state="failed", exit_code=2, cause="data", error=error, pushed=None, privacy=None, variants=[]
        )

    def page(self, folder: Path | None = None) -> str:
        return page("status.html.j2", s=status(self.config, self.root, NOW), folder=folder or self.root)

    def _record(self, span: int, **changes) -> None:
        started = datetime.datetime(2026, 11, 1, 1, 0, tzinfo=datetime.timezone.utc) + datetime.timedelta(days=span)
        run = f"{started:%Y%m%d-%H%M%S}-{span:04x}"
        data = {**RECORD["data"], "name": "nightly", "span": span, "span_name": f"span-{span}"}
        (self.root / "runs" / run).mkdir(parents=True)
        told = {**copy.deepcopy(RECORD), "run": run, "config": self.config.name, "data": data, **changes}
        told |= {"started": started.isoformat(), "report": str(self.root / "runs" / run / "report.html")}
        (self.root / "runs" / run / "run.json").write_text(json.dumps(told))
