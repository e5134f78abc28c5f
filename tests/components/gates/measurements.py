"""A measurement that passes every gate, which tests make worse."""

import dataclasses

from components.gates.core import Paired
from components.gates.measured import Agreement, Evaluation, Measurement, Probe, Spent
from components.privacy.config import PrivacyConfig
from components.shipped.latency import Interval

POLICY = PrivacyConfig(epsilon=2.5, delta=1e-5, budget_epsilon=3.0)
GOOD = Measurement(
    overall=Paired(both=6700, parent_only=60, variant_only=55, neither=1185),
    slices={f"class {i}": Paired(both=670, parent_only=6, variant_only=6, neither=118) for i in range(10)},
    agreement=Agreement(flips=200, total=8000, calibration=0.031, parent_calibration=0.03, margin_factor=1.02),
    served={
        "the model that serves": Paired(both=6500, parent_only=310, variant_only=300, neither=890),
        "the best that ever served": Paired(both=6500, parent_only=320, variant_only=300, neither=880),
    },
    bytes=30_000,
    broken=(),
    probe=Probe(complaints=(), peak_bytes=8_000_000, latency_ratio=Interval(1.0, 0.9, 1.1)),
    evaluation=Evaluation(blessed=True, missing=()),
    epsilon=2.9,
    delta=1e-5,
    duplicates=0,
    spent=Spent(number=1, earlier=0.0),
)


def measured(**changes) -> Measurement:
    """The good one with other fields; `probe__peak_bytes` is a field of a field."""
    for key in [k for k in changes if "__" in k]:
        outer, inner = key.split("__")
        changes[outer] = dataclasses.replace(changes.get(outer, getattr(GOOD, outer)), **{inner: changes.pop(key)})
    return dataclasses.replace(GOOD, **changes)
