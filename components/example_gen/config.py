"""What the user may set about the data."""

from dataclasses import dataclass

from components.common.settings import require, require_fraction
from components.example_gen.placeholders import LAST_DAY, folder_of, has_span, in_words, is_dated, problem

ROLES = ("train", "public", "validation", "holdout")
PRIVATE = ("train",)


@dataclass(frozen=True, kw_only=True)
class RolesConfig:
    """Which files play which role: a glob under `data.root` each. `{SPAN}` stands where the span's number does, or
    `{YYYY}`, `{MM}` and `{DD}` where its date does: once in each of them, or in none (TFX's ExampleGen wants the same
    span for all splits).

    train: private, read by private training only, charged. public: calibration, pretraining and fine-tuning, free.
    validation: searches. holdout: gates only. The last two are empty where `data.shares` takes them out of train.
    """

    train: str
    public: str
    validation: str = ""
    holdout: str = ""

    def __post_init__(self):
        for role in ("train", "public"):
            require(bool(getattr(self, role)), role, "name a split (a glob under data.root)", getattr(self, role))
        patterns = self.patterns()
        for role, pattern in patterns.items():
            twin = next((r for r in patterns if r != role and patterns[r] == pattern), None)
            require(twin is None, role, f"name another split than `{twin}` does", pattern)
            wrong = problem(pattern)
            require(wrong is None, role, str(wrong), pattern)
            agrees = (has_span(pattern), is_dated(pattern)) == (has_span(self.train), is_dated(self.train))
            spanned = self.train if has_span(self.train) else pattern
            require(agrees, role, f"have {in_words(spanned)} where `train` has it, and only there", pattern)

    def patterns(self) -> dict[str, str]:
        """The globs by role, of the roles that have files of their own."""
        return {role: getattr(self, role) for role in ROLES if getattr(self, role)}


@dataclass(frozen=True, kw_only=True)
class SharesConfig:
    """The roles that are taken out of the files of `train`: for each the fraction, in [0, 1), of their owners, chosen
    by hash (components/example_gen/shares.py). 0: the role has files of its own."""

    validation: float = 0.0
    holdout: float = 0.0

    def __post_init__(self):
        for role in ("validation", "holdout"):
            require_fraction(role, getattr(self, role), high_open=True)
        taken = self.validation + self.holdout
        require(taken < 1, "holdout", "leave something to train, together with validation", self.holdout)

    def taken(self) -> dict[str, float]:
        """The fractions by role, of the roles that have one."""
        return {role: share for role in ROLES if (share := getattr(self, role, 0.0))}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images, their shape and classes, and who may read which part.

    name: what the ledger knows this data set by. root: folder that holds the splits, `embedded:NAME` for what comes
    with Lockgate. span: number of the span to train on (in files and on the command line a date, where spans are
    dated); absent: the newest there is. window: how many spans to train on, that one and those before it; 0: all.
    image_shape: (height, width, channels) in pixels. classes: one name a label, in the order of the labels 0, 1, ...
    schema: a TFMD schema (.pbtxt). public_source: where the public split came from, in words, for the statement.
    marker: name of the file that lies in a span's folder once the span is complete;
    empty: a span counts as soon as it has files. shares: the roles that are taken out of the files of `train`.
    """

    name: str
    root: str
    schema: str
    roles: RolesConfig
    image_shape: tuple[int, ...]
    classes: tuple[str, ...]
    public_source: str
    span: int | None = None
    marker: str = ""
    shares: SharesConfig = SharesConfig()
    window: int = 1

    def __post_init__(self):
        shape = self.image_shape
        good = len(shape) == 3 and all(s > 0 for s in shape) and shape[2] in (1, 3)
        require(good, "image_shape", "be [height, width, channels] with 1 or 3 channels", list(shape))
        require(len(self.classes) >= 2, "classes", "name at least two classes", list(self.classes))
        require(bool(self.name), "name", "not be empty", self.name)
        require(self.window >= 0, "window", "be 0 (all spans) or more", self.window)
        spanned = self.window == 1 or has_span(self.roles.train)
        require(spanned, "window", "be 1 where `roles.train` names no span", self.window)
        require(self.span is None or self.span >= 0, "span", "be 0 or more", self.span)
        dated = is_dated(self.roles.train)
        require(not dated or (self.span or 0) <= LAST_DAY, "span", "be a date, or days since 1970-01-01", self.span)
        for role, pattern in (("validation", self.roles.validation), ("holdout", self.roles.holdout)):
            one = bool(pattern) != (role in self.shares.taken())
            require(
                one, f"roles.{role}", "name a split (a glob under data.root), or have a share in data.shares", pattern
            )
        self._check_marker()

    def _check_marker(self) -> None:
        marker, folders = self.marker, [folder_of(pattern) for pattern in self.roles.patterns().values()]
        if marker:
            require("/" not in marker and marker not in (".", ".."), "marker", "be the name of a file", marker)
            plain = all(folder and not set("*?[") & set(folder) for folder in folders)
            require(plain, "marker", "be empty, unless every role's files lie in a folder named after the span", marker)
