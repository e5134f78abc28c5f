"""Fine-tuning inside a compression stage, on the split that its configuration names: `public`, or `train`, charged."""

import dataclasses
import math
from dataclasses import dataclass

from components.common.compressed import Tune, load_compressed
from components.common.errors import GateError
from components.common.examples import read_split
from components.common.public_training import fit_public
from components.common.settings import from_json, to_json
from components.common.tuning import PrivateTuning, PublicTuning, StageConfig
from components.dp_training.charged import ChargedTraining, mechanism_for, run_key
from components.dp_training.config import TrainerConfig
from components.dp_training.scratch import scratch_folder
from components.dp_training.window import Window, window_of
from components.example_gen.config import DataConfig
from components.privacy.account import Account
from components.privacy.accounting import epsilon_of
from components.privacy.statement import Statement, Tuned, load_statement


@dataclass(kw_only=True)
class Tuning:
    """How one stage fine-tunes, and what that made of the model's statement.

    tune: for the stage's core; None where it reads weights only. statement: of the model that came in; of the one that
    goes out once `tune` was called.
    """

    tune: Tune | None
    statement: Statement


def tuning_of(stage: StageConfig, model, examples, earlier, made, data: DataConfig, account: str) -> Tuning:
    """The fine-tuning of a stage.

    Args:
        stage: its settings. model, examples: the artifacts that came in. earlier: Examples of the other spans that the
            model was trained on; only a private stage reads them. made: the artifact to fill.
        data: the images. account: what a private read is charged to, an `Account` as JSON; else not looked at.

    Raises:
        GateError: the model has no statement, or one of other spans than it would be trained on.
    """
    tuning = Tuning(tune=None, statement=load_statement(model.uri))
    if stage.public:
        tuning.tune = _publicly(stage.public, model, examples, data)
    if stage.private:
        charged_to, scratch = from_json(Account, account), scratch_folder(made.uri)
        came_in = load_compressed(model.uri).fingerprint()  # another model may come to lie at the same uri
        parts = to_json(stage), to_json(data), str(charged_to.population), came_in
        window = window_of(examples, earlier, data)
        run = run_key("tuning", *parts, *window.fingerprints)
        tuning.tune = _privately(tuning, stage.private, run, window, scratch, charged_to)
    return tuning


def _publicly(settings: PublicTuning, before, examples, data: DataConfig) -> Tune:
    def tune(model, held) -> None:
        public = read_split(examples.uri, "public", data.image_shape)
        teacher = load_compressed(before.uri).model if settings.distillation else None
        fit_public(model, public, settings, held, teacher)

    return tune


def _privately(
    tuning: Tuning, settings: PrivateTuning, run: str, window: Window, scratch: str, account: Account
) -> Tune:
    trainer = TrainerConfig(
        population=account.population,
        expected_batch_size=settings.expected_batch_size,
        steps=settings.steps,
        l2_norm_clip=settings.l2_norm_clip,
        learning_rate=settings.learning_rate,
        schedule="linear",
        momentum=0.0,
    )
    delta, stated = account.policy.delta, tuning.statement.spans
    if set(stated) != set(window.spans):
        must = f"be trained further on the spans of its statement, {', '.join(stated)}"
        raise GateError(f"a model must {must}. Received: {', '.join(window.spans)}")

    def tune(model, held) -> None:
        mechanism = mechanism_for(settings.epsilon, account.policy, trainer.sampling_probability, trainer.steps)
        training = ChargedTraining(account, window.spans, run, mechanism, trainer.checkpoint_seconds)
        training.train(model, window.private(), trainer, scratch, held)
        before = tuning.statement
        tuned = (*before.tuned, Tuned(charge=training.charge, mechanism=mechanism, l2_norm_clip=settings.l2_norm_clip))
        tuning.statement = dataclasses.replace(
            before,
            tuned=tuned,
            epsilon=math.inf if before.insecure else training.epsilon_of(before.behind),
            run_epsilon=epsilon_of([before.mechanism, *(t.mechanism for t in tuned)], delta),
        )

    return tune
