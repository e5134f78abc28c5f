"""What the user may set about the data that a compression stage reads: none, `public`, or `private` at a charge."""

from dataclasses import dataclass

from components.common.settings import require, require_fraction, require_positive

AUGMENTATIONS = ("shift", "flip")


@dataclass(frozen=True, kw_only=True)
class PublicTuning:
    """Fine-tuning on the public split, with Adam and a cosine decay.

    epochs: passes over it. learning_rate: at the start. batch_size: examples a step. augmentations: what images go
    through (shift: up to two pixels, the batch together; flip: left and right, each by chance). distillation: how much
    of the loss is the divergence from the scores of the model before the stage, instead of the labels, a fraction.
    temperature: by which scores are divided for it.
    """

    epochs: int
    learning_rate: float = 0.0003
    batch_size: int = 64
    augmentations: tuple[str, ...] = ("shift",)
    distillation: float = 0.0
    temperature: float = 1.0

    def __post_init__(self):
        require(self.epochs >= 1, "epochs", "be 1 or more", self.epochs)
        require_positive("learning_rate", self.learning_rate)
        require(self.batch_size >= 1, "batch_size", "be 1 or more", self.batch_size)
        for name in self.augmentations:
            require(name in AUGMENTATIONS, "augmentations", f"be of {', '.join(AUGMENTATIONS)}", name)
        require_fraction("distillation", self.distillation)
        require_positive("temperature", self.temperature)


@dataclass(frozen=True, kw_only=True)
class PrivateTuning:
    """Fine-tuning on the private split by DP-SGD, charged to the ledger.

    epsilon: what it may spend alone, at `privacy.delta`. steps, expected_batch_size, l2_norm_clip, learning_rate: as in
    `trainer`; plain SGD with a linear decay.
    """

    epsilon: float
    steps: int
    expected_batch_size: int
    l2_norm_clip: float
    learning_rate: float

    def __post_init__(self):
        for name in ("epsilon", "l2_norm_clip", "learning_rate"):
            require_positive(name, getattr(self, name))
        require(self.steps >= 1, "steps", "be 1 or more", self.steps)
        require(self.expected_batch_size >= 1, "expected_batch_size", "be 1 or more", self.expected_batch_size)


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What all stages have in common: they read weights, and at most one of the splits besides.

    public, private: how to fine-tune while what the stage promises is held; None for not at all.
    """

    public: PublicTuning | None = None
    private: PrivateTuning | None = None

    def __post_init__(self):
        both = self.public is not None and self.private is not None
        require(not both, "private", "not be set beside public: a stage fine-tunes on one split", self.private)

    @property
    def reads(self) -> str:
        """`none`, `public` or `private`."""
        return "private" if self.private else "public" if self.public else "none"
