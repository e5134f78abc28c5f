"""TFX glue: reserve ε, train, settle, save the model with its statement."""

import dataclasses
import hashlib
import math
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from components.common.artifacts import DataCheck, PrivacyStatement
from components.common.errors import LockgateError
from components.common.examples import iterate_split, read_split
from components.common.models import save_model, save_serving
from components.common.progress import tell
from components.common.public_training import fit_public
from components.common.settings import from_json, to_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.dp_training.config import TrainerConfig
from components.dp_training.core import train_privately
from components.dp_training.fixed import features_of, without_fixed_layers
from components.dp_training.journal import Journal
from components.dp_training.models import build, deployable
from components.dp_training.scratch import ScratchExamples
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
    journals: Parameter[str],
) -> None:
    """Trains the parent on `train`, behind the data check, charged to the ledger at path `ledger`; a run that was
    killed goes on from its journal in the folder `journals`."""
    trainer, data_config, policy = (
        from_json(TrainerConfig, config),
        from_json(DataConfig, data),
        from_json(PrivacyConfig, privacy),
    )
    images = examples.get_string_custom_property("input_fingerprint") or examples.uri
    target = to_json(dataclasses.replace(policy, budget_epsilon=policy.epsilon))  # another budget makes no other model
    book, run = Ledger(ledger), _run_key(config, data, target, images)
    span = f"{data_config.name}/span-{examples.get_int_custom_property('span') or 0}"
    mechanism = _mechanism(trainer, policy)
    charge = _reserve(book, span, run, mechanism, policy, Path(journals, run))
    journal = Journal(Path(journals, run), trainer.checkpoint_seconds)
    network = build(trainer.model, data_config.image_shape, len(data_config.classes))
    if trainer.pretrain_epochs and journal.load() is None:
        tell(f"pretraining on the public split, {trainer.pretrain_epochs} epochs")
        public = read_split(examples.uri, "public", data_config.image_shape)
        fit_public(network, public, trainer.pretrain_epochs, trainer.pretrain_learning_rate)
    front, trained = (None, network) if trainer.augmentations else without_fixed_layers(network)
    private = iterate_split(examples.uri, "train", data_config.image_shape)
    try:
        with ScratchExamples(features_of(front, private) if front else private, _scratch_folder(model.uri)) as scratch:
            train_privately(trained, scratch, trainer, mechanism, journal, _told(mechanism, policy))
    except LockgateError:  # it cannot go on from where it is: what was executed is charged, another try starts anew
        book.settle(charge, journal.executed)
        shutil.rmtree(Path(journals, run))
        raise
    book.settle(charge, journal.executed)
    network = deployable(network)
    save_model(network, model.uri)
    save_serving(network, model.uri, data_config.image_shape)
    Path(model.uri, "model.tflite").write_bytes(convert(network, "float32"))
    _statement(span, charge, book, mechanism, trainer, data_config, policy).save(statement.uri)


def _reserve(book: Ledger, span: str, run: str, mechanism: Mechanism, policy: PrivacyConfig, journal: Path) -> int:
    """The charge of this run: the one that it has if an earlier process of it left its journal, else a new one."""
    charge = book.charge_of(span, run)
    if charge is None or not journal.exists():
        charge, _ = book.reserve(span, run, mechanism, policy)
        shutil.rmtree(journal, ignore_errors=True)
        journal.mkdir(parents=True, mode=0o700)
    return charge


def _mechanism(trainer: TrainerConfig, policy: PrivacyConfig) -> Mechanism:
    probability, steps = trainer.sampling_probability, trainer.steps
    noise = noise_multiplier_for(policy.epsilon, policy.delta, probability, steps)
    return Mechanism(noise_multiplier=noise, sampling_probability=probability, steps=steps)


def _run_key(*parts: str) -> str:
    """Names a run by all that its model depends on, so that the same run finds its journal again, and no other does."""
    return hashlib.sha256("\0".join([*parts, version("lockgate")]).encode()).hexdigest()[:32]


def _scratch_folder(uri: str) -> str:
    """Where private examples are copied to: beside the model if that is on this machine."""
    return uri if os.path.isdir(uri) else tempfile.gettempdir()


def _told(mechanism: Mechanism, policy: PrivacyConfig):
    """Tells step and ε about twenty times over the run."""
    every = max(1, mechanism.steps // 20)

    def tell_step(step: int) -> None:
        if step % every == 0 or step == 1:
            spent = epsilon_of([mechanism.first(step)], policy.delta)
            tell(f"step {step} of {mechanism.steps}, ε {spent:.2f} of {policy.epsilon:g}")

    return tell_step


def _statement(span, charge, book, mechanism, trainer, data, policy) -> Statement:
    insecure = trainer.insecure_fixed_seed is not None
    return Statement(
        span=span,
        charge=charge,
        epsilon=math.inf if insecure else book.epsilon(span, policy.delta),
        run_epsilon=epsilon_of([mechanism], policy.delta),
        delta=policy.delta,
        mechanism=mechanism,
        l2_norm_clip=trainer.l2_norm_clip,
        population=trainer.population,
        public_source=data.public_source,
        pretrained=trainer.pretrain_epochs > 0,
        insecure=insecure,
    )
