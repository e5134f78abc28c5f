"""TFX glue: reserve ε, train, settle, save the model with its statement."""

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path

from components.common.artifacts import DataCheck, PrivacyStatement
from components.common.models import save_model, save_serving
from components.common.progress import tell
from components.common.public_training import fit_public
from components.common.settings import from_json, to_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.common.tuning import PublicTuning
from components.dp_training.charged import ChargedTraining, mechanism_for, run_key
from components.dp_training.config import TrainerConfig
from components.dp_training.fixed import features_of, without_fixed_layers
from components.dp_training.models import build, deployable
from components.dp_training.scratch import scratch_folder
from components.dp_training.warm_start import Start, leave_start, seal_statement, start_from
from components.dp_training.window import Window, fingerprint_of, span_of, window_of
from components.example_gen.config import DataConfig
from components.privacy.account import Account
from components.privacy.accounting import epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.reservation import Wanted
from components.privacy.statement import Statement
from components.quantization.core import convert
from components.statistics.once import counting


@component
def DPTrainer(
    examples: InputArtifact[standard_artifacts.Examples],
    check: InputArtifact[DataCheck],
    model: OutputArtifact[standard_artifacts.Model],
    statement: OutputArtifact[PrivacyStatement],
    config: Parameter[str],
    data: Parameter[str],
    account: Parameter[str],
    earlier: InputArtifact[list[standard_artifacts.Examples]] = None,
    base: InputArtifact[standard_artifacts.Model] = None,
) -> None:
    """Trains the parent on `train` of all spans that it is given, behind the data check, under one charge on them all;
    a run that was killed goes on from its journal. It starts from what `base` learned, if there is one. Noisy counts,
    where they follow, are charged together with it."""
    trainer, data_config, charged_to = (
        from_json(TrainerConfig, config),
        from_json(DataConfig, data),
        from_json(Account, account),
    )
    policy, window = charged_to.policy, window_of(examples, earlier, data_config)
    network = build(trainer.model, data_config.image_shape, len(data_config.classes))
    start = start_from(base, charged_to.open().book(), policy) if base else None
    if start:
        start.put_into(network)
    mechanism = mechanism_for(policy.training_epsilon, policy, trainer.sampling_probability, trainer.steps)
    run = _run_key(config, data, policy, window, start)
    also = _counts_of(examples, data, policy)
    training = ChargedTraining(charged_to, window.spans, run, mechanism, trainer.checkpoint_seconds, also)
    if trainer.pretrain_epochs and not start and not training.has_begun:
        tell(f"pretraining on the public split, {trainer.pretrain_epochs} epochs")
        pretraining = PublicTuning(epochs=trainer.pretrain_epochs, learning_rate=trainer.pretrain_learning_rate)
        fit_public(network, window.public(), pretraining)
    front, trained = (None, network) if trainer.augmentations else without_fixed_layers(network)
    private = features_of(front, window.private()) if front else window.private()
    training.train(trained, private, trainer, scratch_folder(model.uri))
    _save(network, model, data_config.image_shape)
    made = _statement(window, start, training, trainer, data_config, policy)
    for uri in (statement.uri, model.uri):
        made.save(uri)
    seal_statement(model)


def _run_key(config: str, data: str, policy: PrivacyConfig, window: Window, start: Start | None) -> str:
    """Names the training; another budget, or other statistics at the same ε, make no other model."""
    epsilon, persons = policy.training_epsilon, policy.records_per_person
    target = PrivacyConfig(epsilon=epsilon, delta=policy.delta, budget_epsilon=epsilon, records_per_person=persons)
    return run_key(config, data, to_json(target), start.fingerprint if start else "", *window.fingerprints)


def _counts_of(examples, data: str, policy: PrivacyConfig) -> dict[str, Wanted]:
    """The noisy counts that follow; they are of the run's own span."""
    if policy.statistics != "noised":
        return {}
    run, mechanism = counting(policy, data, fingerprint_of(examples))
    return {run: Wanted(spans=(span_of(examples, from_json(DataConfig, data)),), mechanism=mechanism)}


def _save(network, model, image_shape: Iterable[int]) -> None:
    leave_start(network, model)
    network = deployable(network)
    save_model(network, model.uri)
    save_serving(network, model.uri, image_shape)
    Path(model.uri, "model.tflite").write_bytes(convert(network, "float32"))


def _statement(window, start, training, trainer, data, policy) -> Statement:
    insecure = trainer.insecure_fixed_seed is not None
    sources = dict.fromkeys([start.public_source] if start else []) | dict.fromkeys([data.public_source])
    made = Statement(
        spans=window.spans,
        charge=training.charge,
        epsilon=math.inf,
        run_epsilon=epsilon_of([training.mechanism], policy.delta),
        delta=policy.delta,
        mechanism=training.mechanism,
        l2_norm_clip=trainer.l2_norm_clip,
        population=trainer.population,
        public_source="; ".join(sources),
        pretrained=start.pretrained if start else trainer.pretrain_epochs > 0,
        insecure=insecure,
        base=start.base if start else None,
        statistics=policy.statistics,
    )
    return made if insecure else dataclasses.replace(made, epsilon=training.epsilon_of(made.behind))
