"""What the user may set about private training."""

from dataclasses import dataclass

from components.common.settings import require, require_fraction, require_positive

MODELS = ("tanh_cnn", "gabor_cnn", "scattering_linear")
SCHEDULES = ("constant", "linear")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """DP-SGD (Abadi et al. 2016, arXiv:1607.00133, algorithm 1) with Poisson sampling.

    model: name of a model factory. population: declared, public number of training examples. expected_batch_size: the
    sampling probability is this over `population`. steps: number of noisy steps. learning_rate_schedule: "linear" lets
    the rate fall to zero over the steps. physical_batch_size: examples on which gradients are held at one time, which
    bounds memory. ema: decay of the weights' moving average, 0 for none. pretrain_epochs: passes over `public`, without
    noise, before the first private step; 0 for none.
    """

    population: int
    expected_batch_size: int
    steps: int
    l2_norm_clip: float
    learning_rate: float
    model: str = "tanh_cnn"
    momentum: float = 0.9
    ema: float = 0.0
    learning_rate_schedule: str = "constant"
    physical_batch_size: int = 256
    pretrain_epochs: int = 0
    pretrain_learning_rate: float = 0.002

    def __post_init__(self):
        require(self.model in MODELS, "model", f"be one of {', '.join(MODELS)}", self.model)
        schedule = self.learning_rate_schedule
        require(schedule in SCHEDULES, "learning_rate_schedule", f"be one of {', '.join(SCHEDULES)}", schedule)
        for name in ("l2_norm_clip", "learning_rate", "pretrain_learning_rate"):
            require_positive(name, getattr(self, name))
        for name in ("population", "expected_batch_size", "steps", "physical_batch_size"):
            require(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name))
        batch = self.expected_batch_size
        require(batch <= self.population, "expected_batch_size", f"be at most population ({self.population})", batch)
        require_fraction("momentum", self.momentum, high_open=True)
        require_fraction("ema", self.ema, high_open=True)
        require(self.pretrain_epochs >= 0, "pretrain_epochs", "be 0 or more", self.pretrain_epochs)

    @property
    def sampling_probability(self) -> float:
        """Probability, in (0, 1], with which each example enters a step, independently of all others."""
        return self.expected_batch_size / self.population
