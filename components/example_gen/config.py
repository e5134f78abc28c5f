"""What the user may set about the data."""

from dataclasses import dataclass

from components.common.settings import require

_SPAN = "{SPAN}"
ROLES = ("train", "public", "validation", "holdout")
PRIVATE = ("train",)


@dataclass(frozen=True, kw_only=True)
class RolesConfig:
    """Which files play which role: a glob under `data.root` each, with `{SPAN}` where the span's number stands:
    once in each of them, or in none (TFX's ExampleGen wants the same span for all splits).

    train: private, read by private training only, charged. public: calibration, pretraining and fine-tuning, free.
    validation: searches. holdout: gates only.
    """

    train: str
    public: str
    validation: str
    holdout: str

    def __post_init__(self):
        patterns = {role: getattr(self, role) for role in ROLES}
        for role, pattern in patterns.items():
            require(bool(pattern), role, "name a split (a glob under data.root)", pattern)
            twin = next((r for r in ROLES if r != role and patterns[r] == pattern), None)
            require(twin is None, role, f"name another split than `{twin}` does", pattern)
            require(pattern.count(_SPAN) <= 1, role, "have {SPAN} at most once", pattern)
            agrees = (_SPAN in pattern) == (_SPAN in self.train)
            require(agrees, role, "have {SPAN} where `train` has it, and only there", pattern)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images, their shape and classes, and who may read which part.

    name: what the ledger knows this data set by. root: folder that holds the splits, `embedded:NAME` for what comes
    with Lockgate. span: number of the span to train on; absent: the newest there is. window: how many spans to train
    on, that one and those before it; 0: all. image_shape: (height, width, channels) in pixels. classes: one name a
    label, in the order of the labels 0, 1, ... schema: a TFMD schema (.pbtxt). public_source: where the public split
    came from, in words, for the statement.
    """

    name: str
    root: str
    schema: str
    roles: RolesConfig
    image_shape: tuple[int, ...]
    classes: tuple[str, ...]
    public_source: str
    span: int | None = None
    window: int = 1

    def __post_init__(self):
        shape = self.image_shape
        good = len(shape) == 3 and all(s > 0 for s in shape) and shape[2] in (1, 3)
        require(good, "image_shape", "be [height, width, channels] with 1 or 3 channels", list(shape))
        require(len(self.classes) >= 2, "classes", "name at least two classes", list(self.classes))
        require(bool(self.name), "name", "not be empty", self.name)
        require(self.window >= 0, "window", "be 0 (all spans) or more", self.window)
        spanned = self.window == 1 or _SPAN in self.roles.train
        require(spanned, "window", "be 1 where `roles.train` has no {SPAN}", self.window)
        require(self.span is None or self.span >= 0, "span", "be 0 or more", self.span)
