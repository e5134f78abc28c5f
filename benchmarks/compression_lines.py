"""The lines of `compression`: stages and levels, chosen on validation, fixed before the test set was read."""

from dataclasses import dataclass
from typing import Any

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed, Tune
from components.common.examples import Split, scaled
from components.common.legacy_keras import keras
from components.common.public_training import fit_public
from components.common.tuning import PublicTuning
from components.pruning.config import PruneConfig
from components.pruning.core import prune
from components.quantization.config import QuantizeConfig
from components.quantization.core import quantize
from components.shipped.description import described


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the table. stages: configs of pruning, clustering and quantization in turn. guide: the peer's name.
    seeds: how many parents."""

    model: str
    stages: tuple[Any, ...]
    guide: str | None = None
    seeds: int = 1


def _tuned(
    epochs: int, learning_rate: float = 0.0005, distillation: float = 0.9, temperature: float = 4.0
) -> PublicTuning:
    return PublicTuning(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=128,
        augmentations=(),
        distillation=distillation,
        temperature=temperature,
    )


def _lenet5() -> dict[str, Line]:
    """The techniques one by one and together, at the levels that TFMOT's guides name."""
    eighty, half = PruneConfig(sparsity=0.8, public=_tuned(6, 0.002)), PruneConfig(sparsity=0.5, public=_tuned(3))
    sixteen, eight = ClusterConfig(clusters=16, public=_tuned(2)), ClusterConfig(clusters=8, public=_tuned(3))
    plain, shared = QuantizeConfig(), QuantizeConfig(per_channel=False)
    trained, trained_shared = QuantizeConfig(public=_tuned(3)), QuantizeConfig(per_channel=False, public=_tuned(3))
    return {
        "int8": Line(model="lenet5", stages=(plain,), seeds=3),
        "qat": Line(model="lenet5", stages=(trained,), guide="qat", seeds=3),
        "prune+int8": Line(model="lenet5", stages=(eighty, plain), guide="prune+int8"),
        "cluster+int8": Line(model="lenet5", stages=(sixteen, shared), guide="cluster+int8"),
        "prune+cluster+int8": Line(model="lenet5", stages=(eighty, sixteen, shared), guide="prune+cluster+int8"),
        "pqat": Line(model="lenet5", stages=(half, trained), guide="pqat"),
        "cqat": Line(model="lenet5", stages=(eight, trained_shared), guide="cqat"),
        "pcqat": Line(model="lenet5", stages=(half, eight, trained_shared), guide="pcqat", seeds=3),
    }


def _ds_cnn() -> dict[str, Line]:
    """Plain int8, and what is hardest for a small model."""
    half, eight = PruneConfig(sparsity=0.5, public=_tuned(4, 0.002)), ClusterConfig(clusters=8)
    trained, last = QuantizeConfig(public=_tuned(6, 0.001)), QuantizeConfig(per_channel=False, public=_tuned(16, 0.003))
    return {
        "int8": Line(model="ds_cnn", stages=(QuantizeConfig(),), seeds=3),
        "qat": Line(model="ds_cnn", stages=(trained,), guide="qat", seeds=3),
        "pcqat": Line(model="ds_cnn", stages=(half, eight, last), guide="pcqat", seeds=3),
    }


def _private_cnn() -> dict[str, Line]:
    """On public images only, so that ε stays what it was."""
    tuning = PublicTuning(
        epochs=20,
        learning_rate=0.0001,
        batch_size=256,
        augmentations=(),
        distillation=0.8,
        temperature=2.0,
    )
    return {
        "int8": Line(model="private_cnn", stages=(QuantizeConfig(),), seeds=3),
        "qat": Line(model="private_cnn", stages=(QuantizeConfig(public=tuning),), guide="qat", seeds=3),
    }


_CLOSE = {"distillation": 1.0, "temperature": 3.0}
_SMALLEST = Line(
    model="lenet5",
    stages=(
        PruneConfig(
            sparsity=0.56,
            layers={"conv1": 0.3, "fc1": 0.836, "fc2": 0.3},
            units={"fc1": 0.872},
            public=_tuned(22, 0.003, **_CLOSE),
        ),
        ClusterConfig(clusters=9, layers={"conv1": 20}, public=_tuned(13, 0.0007, **_CLOSE)),
        QuantizeConfig(per_channel=False, public=_tuned(7, 0.0003, **_CLOSE)),
    ),
    seeds=3,
)
LINES = {
    **{f"lenet5/{name}": line for name, line in _lenet5().items()},
    "lenet5/smallest": _SMALLEST,
    **{f"ds_cnn/{name}": line for name, line in _ds_cnn().items()},
    **{f"private_cnn/{name}": line for name, line in _private_cnn().items()},
}


def compress(name: str, parent: keras.Model, public: Split, seed: int) -> tuple[bytes, dict[str, Any]]:
    """Runs the stages of a line on a parent.

    Returns:
        The `.tflite`, and its description with what was promised of each kernel and what the file holds.

    Raises:
        ModelError: the file does not keep what the stages promised.
    """
    keras.utils.set_random_seed(seed)
    made, content, line = Compressed(model=parent), b"", LINES[name]
    for stage in line.stages:
        tune = _tune(stage.public, public, parent)
        if isinstance(stage, PruneConfig):
            made = prune(made, stage, tune)
        elif isinstance(stage, ClusterConfig):
            made = cluster(made, stage, tune)
        else:
            made, content = quantize(made, stage, scaled(public.images[: stage.calibration_examples]), tune)
    return content, described(name, "int8", made, content)


def _tune(tuning: PublicTuning | None, public: Split, parent: keras.Model) -> Tune | None:
    return (lambda model, held: fit_public(model, public, tuning, held, parent)) if tuning else None
