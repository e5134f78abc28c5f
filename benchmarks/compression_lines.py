"""The lines of `compression`: stages and levels, chosen on validation, fixed before the test set was read."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed, Tune
from components.common.legacy_keras import keras
from components.common.public_training import fit
from components.common.tuning import PublicTuning
from components.pruning.config import PruneConfig
from components.pruning.core import prune
from components.quantization.config import QuantizeConfig
from components.quantization.core import quantize

_CALIBRATION = 500


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the table. stages: configs of pruning, clustering and quantization in turn. guide: the peer's name.
    seeds: how many parents."""

    model: str
    stages: tuple[Any, ...]
    guide: str | None = None
    seeds: int = 1


def _tuned(
    epochs: int, learning_rate: float = 0.0005, augmentations: tuple[str, ...] = ("shift", "flip")
) -> PublicTuning:
    return PublicTuning(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=128,
        augmentations=augmentations,
        distillation=0.9,
        temperature=4.0,
    )


def _combinations(model: str) -> dict[str, Line]:
    """The techniques one by one and together, at the levels that TFMOT's guides name."""
    eighty, half = PruneConfig(sparsity=0.8, public=_tuned(4)), PruneConfig(sparsity=0.5, public=_tuned(3))
    sixteen, eight = ClusterConfig(clusters=16, public=_tuned(2)), ClusterConfig(clusters=8, public=_tuned(3))
    plain, trained = QuantizeConfig(), QuantizeConfig(public=_tuned(3))
    lines = {
        "int8": Line(model=model, stages=(plain,), seeds=3),
        "qat": Line(model=model, stages=(trained,), guide="qat", seeds=3),
        "prune+int8": Line(model=model, stages=(eighty, plain), guide="prune+int8"),
        "cluster+int8": Line(model=model, stages=(sixteen, plain), guide="cluster+int8"),
        "prune+cluster+int8": Line(model=model, stages=(eighty, sixteen, plain), guide="prune+cluster+int8"),
        "pqat": Line(model=model, stages=(half, trained), guide="pqat"),
        "cqat": Line(model=model, stages=(eight, trained), guide="cqat"),
        "pcqat": Line(model=model, stages=(half, eight, trained), guide="pcqat"),
    }
    return {f"{model}/{name}": line for name, line in lines.items()}


_SMALLEST = Line(
    model="lenet5",
    stages=(
        PruneConfig(
            sparsity=0.6,
            layers={"conv1": 0.3, "fc1": 0.844, "fc2": 0.3},
            units={"fc1": 0.872},
            public=_tuned(20, 0.003, ("flip",)),
        ),
        ClusterConfig(clusters=9, layers={"conv1": 20}, public=_tuned(13, 0.0007)),
        QuantizeConfig(per_channel=False, public=_tuned(7, 0.0003)),
    ),
)
LINES = {**_combinations("lenet5"), "lenet5/smallest": _SMALLEST, **_combinations("ds_cnn")}


def compress(line: Line, parent: keras.Model, images: np.ndarray, labels: np.ndarray, seed: int) -> bytes:
    """Runs the stages of a line on a parent; the `.tflite`."""
    keras.utils.set_random_seed(seed)
    made, content = Compressed(model=parent), b""
    for stage in line.stages:
        tune = _tune(stage.public, images, labels, parent)
        if isinstance(stage, PruneConfig):
            made = prune(made, stage, tune)
        elif isinstance(stage, ClusterConfig):
            made = cluster(made, stage, tune)
        else:
            made, content = quantize(made, stage, images[:_CALIBRATION], tune)
    return content


def _tune(tuning: PublicTuning | None, images: np.ndarray, labels: np.ndarray, parent: keras.Model) -> Tune | None:
    return (lambda model, held: fit(model, images, labels, tuning, held, parent)) if tuning else None
