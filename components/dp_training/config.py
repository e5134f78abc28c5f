"""What the user may set about private training."""

from dataclasses import dataclass

from components.common.errors import ConfigError
from components.common.settings import require, require_fraction, require_positive

MODELS = ("tanh_cnn", "gabor_cnn", "scattering_linear")
OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "linear", "cosine")
AUGMENTATIONS = ("shift", "flip")
_MIXING = ("mixup", "cutmix", "samplepairing", "mosaic")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """DP-SGD (Abadi et al. 2016, arXiv:1607.00133, algorithm 1) with Poisson sampling.

    model: name of a model factory. population: declared, public number of training examples, in all spans that are
    trained on. expected_batch_size: the sampling probability is this over `population`. steps: number of noisy steps.
    l2_norm_clip: of one example's gradient. optimizer: sgd (with `momentum`) or adam, on the noised gradient. schedule:
    of the learning rate, from `learning_rate` down to zero over the steps, or constant. ema: decay of the weights'
    moving average, 0 for none. augmentations: what each copy of an example goes through (shift: up to two pixels; flip:
    left and right). augmentation_multiplicity: copies of an example whose gradients are averaged before the clip (De et
    al. 2022, arXiv:2204.13650, section 3.2). physical_batch_size: examples on which gradients are held at one time,
    which bounds memory; of more than 256 that many are taken, because rounding in their sum is paid for with noise.
    pretrain_epochs: passes over `public`, without noise, before the first private step; 0 for none. checkpoint_seconds:
    time after which the state is saved, so that a killed run loses no more. warm_start: goes on from the weights behind
    what serves, those of the newest push that was not withdrawn and is of earlier spans; where there is none, it begins
    anew. insecure_fixed_seed: makes sampling and noise repeatable, for tests of the code; whoever knows it can take the
    noise away, so ε is then infinite and nothing is pushed.
    """

    population: int
    expected_batch_size: int
    steps: int
    l2_norm_clip: float
    learning_rate: float
    model: str = "tanh_cnn"
    optimizer: str = "sgd"
    schedule: str = "constant"
    momentum: float = 0.9
    ema: float = 0.0
    augmentations: tuple[str, ...] = ()
    augmentation_multiplicity: int = 1
    physical_batch_size: int = 256
    pretrain_epochs: int = 0
    pretrain_learning_rate: float = 0.002
    checkpoint_seconds: float = 30.0
    warm_start: bool = False
    insecure_fixed_seed: int | None = None

    def __post_init__(self):
        for name, known in (("model", MODELS), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            require(getattr(self, name) in known, name, f"be one of {', '.join(known)}", getattr(self, name))
        for name in ("l2_norm_clip", "learning_rate", "pretrain_learning_rate", "checkpoint_seconds"):
            require_positive(name, getattr(self, name))
        whole = ("population", "expected_batch_size", "steps", "physical_batch_size", "augmentation_multiplicity")
        for name in whole:
            require(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name))
        batch = self.expected_batch_size
        require(batch <= self.population, "expected_batch_size", f"be at most population ({self.population})", batch)
        require_fraction("momentum", self.momentum, high_open=True)
        require_fraction("ema", self.ema, high_open=True)
        require(self.pretrain_epochs >= 0, "pretrain_epochs", "be 0 or more", self.pretrain_epochs)
        self._check_augmentations()

    def _check_augmentations(self) -> None:
        for name in self.augmentations:
            if name in _MIXING:
                raise ConfigError(
                    f"`augmentations` must not mix examples: {name} makes one example's gradient depend on another, "
                    f"and the clip no longer bounds it. Use {' or '.join(AUGMENTATIONS)}. Received: {name}"
                )
            require(name in AUGMENTATIONS, "augmentations", f"be of {', '.join(AUGMENTATIONS)}", name)
        copies = self.augmentation_multiplicity
        must = "be 1 where there are no augmentations: the copies would be equal"
        require(copies == 1 or bool(self.augmentations), "augmentation_multiplicity", must, copies)

    @property
    def sampling_probability(self) -> float:
        """Probability, in (0, 1], with which each example enters a step, independently of all others."""
        return self.expected_batch_size / self.population
