"""One try: the real stages at the levels of a plan, measured on the `.tflite` that comes out."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed, Tune
from components.common.examples import Split, scaled
from components.common.legacy_keras import keras
from components.common.public_training import fit_public
from components.common.tflite import TFLiteModel
from components.gates.core import Paired
from components.gates.measurement import paired, predictions
from components.pruning.config import PruneConfig
from components.pruning.core import prune
from components.quantization.config import QuantizeConfig
from components.quantization.core import quantize
from components.search.config import SearchConfig
from components.search.plans import Plan
from components.shipped.agreement import agreement
from components.shipped.description import described

_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of a file. described: what `variant.json` says of it. seen: how parent and variant did on
    `validation`. seconds: that making and measuring it took."""

    described: dict[str, Any]
    seen: Paired
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Try:
    """A plan and what came of it. target: the drop on `validation` that it was allowed."""

    plan: Plan
    measured: Measured
    target: float

    @property
    def gzip_bytes(self) -> int:
        """Of its `.tflite`."""
        return self.measured.described["gzip_bytes"]

    @property
    def drop(self) -> float:
        """The parent's accuracy on `validation` less its own."""
        return self.measured.seen.drop

    @property
    def within(self) -> bool:
        """Whether the drop is within the target."""
        return self.drop <= self.target

    def facts(self) -> dict[str, Any]:
        """What is told of it."""
        return {
            "key": self.plan.key,
            "kind": self.plan.kind,
            "sparsities": self.plan.sparsities,
            "clusters": self.plan.clusters,
            "expected_bytes": self.plan.bytes,
            "expected_cost": self.plan.cost,
            **{name: self.measured.described[name] for name in ("bytes", "gzip_bytes", "sha256")},
            "seen": dataclasses.asdict(self.measured.seen),
            "accuracy": self.measured.seen.variant_accuracy,
            "drop": self.drop,
            "target": self.target,
            "within": self.within,
            "seconds": self.measured.seconds,
        }


class Bench:
    """Makes and measures what plans say.

    A try is pruned and clustered from its weights and fine-tuned once, by its last stage that can be, with zeros,
    centroids and, where `config` says so, int8 codes held together; a plan of int8 alone is fine-tuned only if int8 is
    trained for. Clustered kernels have one scale each, so that their values stay few in the file.

    Args:
        parent: the float model, unchanged.
        validation: what is measured on. public: what is calibrated on, and fine-tuned if `config` says so; what is
            distilled there is the parent.
        config: how.
    """

    def __init__(self, parent: keras.Model, validation: Split, public: Split, config: SearchConfig):
        self._parent, self._public, self._config = parent, public, config
        self._images, self._labels = scaled(validation.images), validation.labels
        self._calibration = scaled(public.images[: QuantizeConfig().calibration_examples])
        self._classes = predictions(parent.predict(self._images, batch_size=_BATCH, verbose=0))

    def run(self, plan: Plan) -> tuple[Measured, bytes]:
        """What was measured, and the file; the same for the same plan, the seconds aside.

        Raises:
            ModelError: a model that cannot be compressed, or a file that does not keep what the stages promised.
        """
        begun = time.monotonic()
        keras.utils.set_random_seed(int(plan.key[:8], 16))
        made, file = self._made(plan)
        facts = {**described(plan.kind, "int8", made, file), **agreement(made.model, file, [self._calibration])}
        seen = paired(self._labels, self._classes, predictions(TFLiteModel(file).scores(self._images)))
        return Measured(described=facts, seen=seen, seconds=round(time.monotonic() - begun, 1)), file

    def _made(self, plan: Plan) -> tuple[Compressed, bytes]:
        made, aware = Compressed(model=self._parent), self._config.quantization_aware
        if plan.sparsities:
            pruning = PruneConfig(sparsity=0.0, layers=plan.sparsities)
            made = prune(made, pruning, self._tune(not aware and not plan.clusters))
        if plan.clusters:
            clustering = ClusterConfig(clusters=max(plan.clusters.values()), layers=plan.clusters)
            made = cluster(made, clustering, self._tune(not aware))
        rounding = QuantizeConfig(mode="int8", per_channel=not plan.clusters)
        return quantize(made, rounding, self._calibration, self._tune(aware))

    def _tune(self, here: bool) -> Tune | None:
        settings = self._config.public
        if not here or settings is None:
            return None
        return lambda model, held: fit_public(model, self._public, settings, held, teacher=self._parent)
