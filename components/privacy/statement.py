"""The statement: what the shipped model's ε means, in numbers and in words."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from components.common.errors import ConfigError, GateError
from components.common.settings import from_mapping, require
from components.privacy.accounting import Mechanism


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What is promised about one trained model.

    epsilon: what the ledger composed for every run that touched the span, this one included, at `delta`; run_epsilon:
    this run alone. span: the ledger's name of it. population, l2_norm_clip: as declared. public_source: where the
    public split came from. charge: id of the ledger's entry.
    """

    span: str
    charge: int
    epsilon: float
    run_epsilon: float
    delta: float
    mechanism: Mechanism
    l2_norm_clip: float
    population: int
    public_source: str
    pretrained: bool
    adjacency: str = "add or remove one example"
    accountant: str = "RDP"

    def in_words(self) -> str:
        """The promise, and what it does not cover, in a few paragraphs of plain English."""
        m = self.mechanism
        start = "on weights pretrained on the public split" if self.pretrained else "from scratch"
        more = (
            ""
            if self.epsilon == self.run_epsilon
            else f" This run alone spent ε = {self.run_epsilon:.3f}; the rest was spent by earlier runs on the span."
        )
        warning = (
            ""
            if self.delta <= 1 / self.population
            else f"\n\nWarning: δ = {self.delta:g} is above 1/N = {1 / self.population:g}; a mechanism that publishes "
            "one record at random would satisfy it."
        )
        return (
            f"The model satisfies (ε = {self.epsilon:.3f}, δ = {self.delta:g})-differential privacy for adding or "
            f"removing one training example of {self.span}.{more}\n\n"
            f"It was trained {start} by DP-SGD: {m.steps} steps, each on a Poisson sample that every example enters "
            f"with probability {m.sampling_probability:.6g}, per-example gradients clipped to an l2 norm of "
            f"{self.l2_norm_clip:g}, Gaussian noise of {m.noise_multiplier:.4f} times that norm on their sum. ε is "
            f"computed by dp_accounting ({self.accountant}) for the steps that were executed. Which examples were "
            "sampled, and the noise, are kept nowhere. Compression reads the weights and the public split only, so "
            "it is post-processing and costs nothing.\n\n"
            "Not covered: the public split "
            f"({self.public_source}), the validation and holdout splits and every figure measured on them, the "
            "choice of hyper-parameters, the structural check that names records it refuses, the declared number of "
            f"training examples ({self.population}), and the rounding of noise to floating-point numbers. If one "
            f"person has several examples, the promise for that person is weaker.{warning}"
        )

    def save(self, folder: str) -> None:
        """Writes `statement.json` and `statement.txt`."""
        Path(folder, "statement.json").write_text(json.dumps(dataclasses.asdict(self), indent=2))
        Path(folder, "statement.txt").write_text(self.in_words() + "\n")


def load_statement(folder: str) -> Statement:
    """Reads what `Statement.save` wrote.

    Raises:
        GateError: there is none, it cannot be read, or its ε is below what the run alone spent: ε is then unbounded.
    """
    try:
        made = from_mapping(Statement, json.loads(Path(folder, "statement.json").read_text()), "")
        require(made.epsilon >= made.run_epsilon * (1 - 1e-9), "epsilon", "be at least run_epsilon", made.epsilon)
    except (OSError, ValueError, ConfigError) as error:
        raise GateError(f"a model must come with a privacy statement. Received: {folder}: {error}") from None
    return made
