"""The statement: what the shipped model's ε means, in numbers and in words."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.common.errors import ConfigError, GateError
from components.common.remote import read
from components.common.settings import from_mapping, require
from components.common.words import listed, number
from components.privacy.accounting import Mechanism
from components.privacy.gaussian import residual_delta

_LISTED = 8
_MOST_WEIGHTS = 10**8  # of a model; fewer have a smaller residual


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """One private fine-tuning by a compression stage. charge: id of the ledger's entry."""

    charge: int
    mechanism: Mechanism
    l2_norm_clip: float


@dataclass(frozen=True, kw_only=True)
class Base:
    """The private model that a warm start went on from. spans: the ledger's names of all that its weights come from.
    charges: ids of the trainings behind it, oldest first."""

    spans: tuple[str, ...]
    charges: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What is promised about one trained model.

    epsilon: what the ledger composed for every run that touched the spans behind the weights (see `Book.epsilon`), this
    one included, at `delta`, infinite where nothing can be promised; run_epsilon: this run alone. spans: the ledger's
    names of those that this run trained on, oldest first. population, l2_norm_clip: as declared. public_source: where
    the public split came from. charge: id of the ledger's entry. pretrained: whether its first weights came from the
    public split. insecure: whether sampling and noise came from a fixed seed. base: what it started from, None where it
    began anew. tuned: what compression stages did to the model on the private split. compared: spans of other models
    that decided whether this one ships; ε is for these too. statistics: as configured, see `PrivacyConfig`.
    """

    spans: tuple[str, ...]
    charge: int
    epsilon: float
    run_epsilon: float
    delta: float
    mechanism: Mechanism
    l2_norm_clip: float
    population: int
    public_source: str
    pretrained: bool
    insecure: bool = False
    base: Base | None = None
    tuned: tuple[Tuned, ...] = ()
    compared: tuple[str, ...] = ()
    statistics: str = "public"
    adjacency: str = "add or remove one example"
    accountant: str = "RDP"

    @property
    def behind(self) -> tuple[str, ...]:
        """The spans that the weights come from, those of what it started from included."""
        return tuple(dict.fromkeys((*(self.base.spans if self.base else ()), *self.spans)))

    def in_words(self) -> str:
        """The promise, and what it does not cover, in a few paragraphs of plain English."""
        paragraphs = [self._promise(), self._mechanism(), self._exclusions()]
        if self.delta > 1 / self.population:
            paragraphs.append(
                f"Warning: δ = {number(self.delta)} is above 1/N = {number(1 / self.population)}; a mechanism that "
                "publishes one record at random would satisfy it."
            )
        return "\n\n".join(paragraphs)

    def _promise(self) -> str:
        if self.insecure:
            return (
                "Nothing is promised: the noise came from a fixed seed (trainer.insecure_fixed_seed), and whoever "
                "knows the seed can take it away. ε is infinite."
            )
        promise = (
            f"The model satisfies (ε = {self.epsilon:.3f}, δ = {number(self.delta)})-differential privacy for adding "
            f"or removing {self._unit()} of {_shortened(self.behind, 'spans')}.{self._composed()}{self._compared()}"
        )
        if self.epsilon == self.run_epsilon:
            return promise
        span, it = ("span", "it") if len(self.behind) == 1 else ("spans", "them")
        if self.statistics == "noised":
            own, others = "Its training", f"other runs on the {span} and by noisy statistics of {it}"
        else:
            own, others = "This run", f"other runs on the {span}"
        return f"{promise} {own} alone spent ε = {self.run_epsilon:.3f}; the rest was spent by {others}."

    def _composed(self) -> str:
        if len(self.behind) == 1:
            return ""
        if self.mechanism.group == 1:
            return " An example is in one of these spans, and ε is the largest of theirs."
        return " A person may have examples in several of these spans, and ε is that of all runs on any of them."

    def _compared(self) -> str:
        if not self.compared:
            return ""
        return (
            f" It ships because of how it compares with models of {_shortened(self.compared, 'spans')}, for whose "
            "examples the same holds."
        )

    def _unit(self) -> str:
        group = self.mechanism.group
        return "one training example" if group == 1 else f"all training examples, at most {group}, of one person"

    def _mechanism(self) -> str:
        m = self.mechanism
        secrecy = "" if self.insecure else " Which examples were sampled, and the noise, are kept nowhere."
        return (
            f"It was trained {self._start()} by DP-SGD: {number(m.steps)} steps, each on a Poisson sample that every "
            f"example{self._own()} enters with probability {m.sampling_probability:.6g}, per-example gradients clipped "
            f"to an l2 norm of {number(self.l2_norm_clip)}, Gaussian noise of {m.noise_multiplier:.4f} times that norm "
            f"and what rounding can add to it on their sum. ε is computed by dp_accounting ({self.accountant}) for the "
            f"steps that were executed, those that a crash lost included.{secrecy} {self._compression()}"
        )

    def _start(self) -> str:
        began = "on weights pretrained on the public split" if self.pretrained else "from scratch"
        if self.base is None:
            return began
        charges = _shortened([f"charge {id}" for id in self.base.charges], "charges")
        return (
            f"on the weights of an earlier private model of {_shortened(self.base.spans, 'spans')} ({charges} of the "
            f"ledger), which began {began},"
        )

    def _own(self) -> str:
        return f" of {_shortened(self.spans, 'spans')}" if len(self.behind) > 1 else ""

    def _compression(self) -> str:
        if not self.tuned:
            return (
                "Compression reads the weights and the public split only, so it is post-processing and costs nothing "
                "(Dwork and Roth 2014, proposition 2.1)."
            )
        steps = " and ".join(
            f"{number(t.mechanism.steps)} steps with probability {t.mechanism.sampling_probability:.6g}, clipped to "
            f"{number(t.l2_norm_clip)}, with noise of {t.mechanism.noise_multiplier:.4f} times that norm"
            for t in self.tuned
        )
        return (
            f"Compression trained it further on the private split, charged to the same ledger: {steps}. All else that "
            "compression read are weights and the public split."
        )

    def _exclusions(self) -> str:
        return (
            f"Not covered: the public split ({self.public_source}), the validation and holdout splits and every figure "
            "measured on them, the choice of hyper-parameters, the structural check that names records it refuses, the "
            f"declared number of training examples ({number(self.population)}), {self._statistics()}how a processor "
            "rounds an example's gradient that it computes beside others, and whoever can tell AES-256, of which the "
            f"noise is made, from chance. {self._residual()}{self._persons()}"
        )

    @property
    def residual_delta(self) -> float:
        """What the arithmetic of the run's noise adds to δ, at most, see `gaussian.residual_delta`."""
        steps = sum(m.steps for m in (self.mechanism, *(t.mechanism for t in self.tuned)))
        return residual_delta(steps * (_MOST_WEIGHTS + self.population), self.epsilon)

    def _residual(self) -> str:
        if not math.isfinite(self.epsilon):
            return ""
        return f"To δ the arithmetic of its noise adds less than {self.residual_delta:.0e} (docs/privacy.md). "

    def _statistics(self) -> str:
        if self.statistics != "declared":
            return ""
        return "the statistics and drift checks of the training examples (privacy.statistics = declared), "

    def _persons(self) -> str:
        group = self.mechanism.group
        if group == 1:
            return "If one person has several examples, the promise for that person is weaker."
        return f"The promise is for a person with at most {group} examples, all of them together."

    def save(self, folder: str) -> None:
        """Writes `statement.json` and `statement.txt`."""
        Path(folder, "statement.json").write_text(json.dumps(dataclasses.asdict(self), indent=2))
        Path(folder, "statement.txt").write_text(self.in_words() + "\n")


def _shortened(names: Sequence[str], kind: str) -> str:
    """Names in a sentence, of many only the first and the last; the statement's figures hold all."""
    return listed(names) if len(names) <= _LISTED else f"{len(names)} {kind}, from {names[0]} to {names[-1]}"


def load_statement(folder: str) -> Statement:
    """Reads what `Statement.save` wrote, wherever the artifact lies.

    Raises:
        GateError: there is none, it cannot be read, it names no span, or its ε is below what the run alone spent: ε is
            then unbounded.
    """
    try:
        made = from_mapping(Statement, json.loads(read(folder, "statement.json")), "")
        require(bool(made.spans), "spans", "name at least one", made.spans)
        require(made.epsilon >= made.run_epsilon * (1 - 1e-9), "epsilon", "be at least run_epsilon", made.epsilon)
    except (OSError, ValueError, ConfigError) as error:
        raise GateError(f"a model must come with a privacy statement. Received: {folder}: {error}") from None
    return made
