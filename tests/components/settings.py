"""Settings and a statement that component tests share, and change by `dataclasses.replace`."""

from components.example_gen.config import ROLES, DataConfig, RolesConfig
from components.privacy.accounting import Mechanism
from components.privacy.statement import Statement

DATA = DataConfig(
    name="d",
    root="r",
    schema="s",
    roles=RolesConfig(**{role: role for role in ROLES}),
    image_shape=(12, 12, 1),
    classes=("a", "b", "c"),
    public_source="somewhere",
)
STATEMENT = Statement(
    spans=("d/span-1",),
    charge=1,
    epsilon=2.5,
    run_epsilon=2.5,
    delta=1e-5,
    mechanism=Mechanism(noise_multiplier=1.0, sampling_probability=0.1, steps=3),
    l2_norm_clip=1.0,
    population=100,
    public_source="p",
    pretrained=False,
)
