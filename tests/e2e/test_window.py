"""Nights on one root: each trains on its span and the one before, and goes on from what serves, under true charges."""

import dataclasses
import json
import shutil
from pathlib import Path

import dp_accounting
import pytest

from components.common.progress import watching
from components.privacy.accounting import ORDERS
from components.privacy.ledger import Ledger
from components.privacy.statement import load_statement
from pipeline.config import Config, load
from pipeline.run import Watcher, execute
from tests.e2e.conftest import SAMPLE, kept

DELTA = 1e-5
NAMES = {n: f"fashion-mnist/span-{n}" for n in (1, 2, 3)}
OTHERS = ("public/images-00000-*", "validation/images-00000-*", "holdout/images-0000[01]-*")


def settings(data: Path, *more: str) -> Config:
    """The tiny preset with one recipe, over two spans of 1,000 private images each."""
    config = load("tiny", [f"data.root={data}", "data.window=2", "trainer.warm_start=true", "trainer.population=2000",
                           "trainer.steps=6", *more])  # fmt: skip
    return dataclasses.replace(config, recipes=tuple(r for r in config.recipes if r.name == "int8"))


def arrive(data: Path, span: int) -> None:
    """Copies a span in: private images of its own, and the other roles' of the sample."""
    for pattern in (f"train/images-0000{span}-*", *OTHERS):
        for file in (SAMPLE / "span-1").glob(pattern):
            target = data / f"span-{span}" / file.parent.name / f"images-00000-{file.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
