"""TFX glue: reserve ε, train, settle, save the model with its statement."""

from pathlib import Path

from components.common.artifacts import DataCheck, PrivacyStatement
from components.common.examples import read_split
from components.common.models import save_model, save_serving
from components.common.progress import tell
from components.common.public_training import fit_public
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.dp_training.config import TrainerConfig
from components.dp_training.core import train_privately
from components.dp_training.models import build, deployable
from components.example_gen.config import DataConfig
from components.privacy.accounting import Mechanism, epsilon_of, noise_multiplier_for
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from components.privacy.statement import Statement
from components.quantization.core import convert


@component
def DPTrainer(
    examples: InputArtifact[standard_artifacts.Examples],
    check: InputArtifact[DataCheck],
    model: OutputArtifact[standard_artifacts.Model],
    statement: OutputArtifact[PrivacyStatement],
    config: Parameter[str],
    data: Parameter[str],
    privacy: Parameter[str],
    ledger: Parameter[str],
) -> None:
    """Trains the parent on `train`, behind the data check, charged to the ledger at path `ledger`."""
    trainer, data_config, policy = (
        from_json(TrainerConfig, config),
        from_json(DataConfig, data),
        from_json(PrivacyConfig, privacy),
    )
    network = build(trainer.model, data_config.image_shape, len(data_config.classes))
    if trainer.pretrain_epochs:
        tell(f"pretraining on the public split, {trainer.pretrain_epochs} epochs")
        public = read_split(examples.uri, "public", data_config.image_shape)
        fit_public(network, public, trainer.pretrain_epochs, trainer.pretrain_learning_rate)
    made = _charged_training(network, examples, trainer, data_config, policy, Ledger(ledger))
    network = deployable(network)
    save_model(network, model.uri)
    save_serving(network, model.uri, data_config.image_shape)
    Path(model.uri, "model.tflite").write_bytes(convert(network, "float32"))
    made.save(statement.uri)


def _charged_training(network, examples, trainer, data, policy, ledger) -> Statement:
    noise = noise_multiplier_for(policy.epsilon, policy.delta, trainer.sampling_probability, trainer.steps)
    mechanism = Mechanism(
        noise_multiplier=noise, sampling_probability=trainer.sampling_probability, steps=trainer.steps
    )
    span = f"{data.name}/span-{examples.get_int_custom_property('span') or 0}"
    charge, epsilon = ledger.reserve(span, str(examples.id), mechanism, policy)
    executed = 0

    def count(step: int) -> None:
        nonlocal executed
        executed = step
        if step % max(1, trainer.steps // 20) == 0 or step == 1:
            so_far = Mechanism(
                noise_multiplier=noise, sampling_probability=trainer.sampling_probability, steps=step
            )
            spent = epsilon_of([so_far], policy.delta)
            tell(f"step {step} of {trainer.steps}, ε {spent:.2f} of {policy.epsilon:g}")

    try:
        train_privately(network, read_split(examples.uri, "train", data.image_shape), trainer, mechanism, count)
    finally:
        ledger.settle(charge, executed)
    return Statement(
        span=span,
        charge=charge,
        epsilon=epsilon,
        run_epsilon=epsilon_of([mechanism], policy.delta),
        delta=policy.delta,
        mechanism=mechanism,
        l2_norm_clip=trainer.l2_norm_clip,
        population=trainer.population,
        public_source=data.public_source,
        pretrained=trainer.pretrain_epochs > 0,
    )
