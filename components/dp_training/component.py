"""TFX glue: reserve ε, train, settle, save the model with its statement."""

import math
from pathlib import Path

from components.common.artifacts import DataCheck, PrivacyStatement
from components.common.examples import iterate_split, read_split
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
from components.dp_training.tuning import fingerprint_of, span_of
from components.example_gen.config import DataConfig
from components.privacy.account import Account
from components.privacy.accounting import epsilon_of
from components.privacy.config import PrivacyConfig
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
) -> None:
    """Trains the parent on `train`, behind the data check, charged to the ledger; a run that was killed goes on from
    its journal. Noisy counts, where they follow, are charged together with it."""
    trainer, data_config, charged_to = (
        from_json(TrainerConfig, config),
        from_json(DataConfig, data),
        from_json(Account, account),
    )
    policy, span = charged_to.policy, span_of(examples, data_config)
    epsilon = policy.training_epsilon
    plain = PrivacyConfig(
        epsilon=epsilon, delta=policy.delta, budget_epsilon=epsilon, records_per_person=policy.records_per_person
    )
    target = to_json(plain)  # another budget, or other statistics at the same ε, make no other model
    run = run_key(config, data, target, fingerprint_of(examples))
    mechanism = mechanism_for(epsilon, policy, trainer.sampling_probability, trainer.steps)
    counts = (counting(policy, data, fingerprint_of(examples)),) if policy.statistics == "noised" else ()
    training = ChargedTraining(charged_to, span, run, mechanism, trainer.checkpoint_seconds, dict(counts))
    network = build(trainer.model, data_config.image_shape, len(data_config.classes))
    if trainer.pretrain_epochs and not training.has_begun:
        tell(f"pretraining on the public split, {trainer.pretrain_epochs} epochs")
        public = read_split(examples.uri, "public", data_config.image_shape)
        pretraining = PublicTuning(epochs=trainer.pretrain_epochs, learning_rate=trainer.pretrain_learning_rate)
        fit_public(network, public, pretraining)
    front, trained = (None, network) if trainer.augmentations else without_fixed_layers(network)
    private = iterate_split(examples.uri, "train", data_config.image_shape)
    training.train(trained, features_of(front, private) if front else private, trainer, scratch_folder(model.uri))
    network = deployable(network)
    save_model(network, model.uri)
    save_serving(network, model.uri, data_config.image_shape)
    Path(model.uri, "model.tflite").write_bytes(convert(network, "float32"))
    made = _statement(span, training, trainer, data_config, policy)
    for uri in (statement.uri, model.uri):
        made.save(uri)


def _statement(span, training, trainer, data, policy) -> Statement:
    insecure = trainer.insecure_fixed_seed is not None
    return Statement(
        span=span,
        charge=training.charge,
        epsilon=math.inf if insecure else training.epsilon_of_span,
        run_epsilon=epsilon_of([training.mechanism], policy.delta),
        delta=policy.delta,
        mechanism=training.mechanism,
        l2_norm_clip=trainer.l2_norm_clip,
        population=trainer.population,
        public_source=data.public_source,
        pretrained=trainer.pretrain_epochs > 0,
        insecure=insecure,
        statistics=policy.statistics,
    )
