"""TFX glue of noisy statistics."""

import dataclasses
import json
from pathlib import Path

from components.common.artifacts import PrivacyStatement
from components.common.examples import iterate_split
from components.common.settings import from_json, from_mapping
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.dp_training.window import fingerprint_of, span_of
from components.example_gen.config import DataConfig
from components.privacy.account import Account
from components.privacy.accounting import epsilon_of
from components.privacy.release import Release
from components.privacy.secret_bits import SecretBits
from components.statistics.core import Counts, as_feature_stats, noisy_counts
from components.statistics.once import counting, released_once


@component
def NoisedStatistics(
    examples: InputArtifact[standard_artifacts.Examples],
    statement: InputArtifact[PrivacyStatement],
    statistics: OutputArtifact[standard_artifacts.ExampleStatistics],
    data: Parameter[str],
    account: Parameter[str],
) -> None:
    """Counts the classes and the brightness of `train` with noise, charged to the ledger, once for the same examples.

    It waits for the training's `statement`, because the training reserves for both.
    """
    data_config, charged_to = from_json(DataConfig, data), from_json(Account, account)
    policy, span = charged_to.policy, span_of(examples, data_config)
    run, mechanism = counting(policy, data, fingerprint_of(examples))

    def count() -> dict:
        private = iterate_split(examples.uri, "train", data_config.image_shape)
        noise, bits = mechanism.noise_multiplier, SecretBits("counts")
        return dataclasses.asdict(noisy_counts(private, len(data_config.classes), noise, bits))

    charge, found = released_once(charged_to, span, run, mechanism, count)
    counts = from_mapping(Counts, found, "")
    epsilon = epsilon_of([mechanism], policy.delta)
    Release(span=span, charge=charge, mechanism=mechanism, epsilon=epsilon, delta=policy.delta).save(statistics.uri)
    Path(statistics.uri, "counts.json").write_text(json.dumps(found, indent=2))
    statistics.split_names = json.dumps(["train"])
    folder = Path(statistics.uri, "Split-train")
    folder.mkdir()
    (folder / "FeatureStats.pb").write_bytes(as_feature_stats(counts).SerializeToString())
