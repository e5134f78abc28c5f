"""Artifact types that TFX does not have."""

from tfx.types.artifact import Artifact


class DataCheck(Artifact):
    """Proof that statistics and every record were checked (`check.json`): training starts only behind it."""

    TYPE_NAME = "DataCheck"


class Drift(Artifact):
    """How far a span is from those before it (`drift.json`)."""

    TYPE_NAME = "Drift"


class PrivacyStatement(Artifact):
    """What a model's ε means, in numbers (`statement.json`) and words (`statement.txt`)."""

    TYPE_NAME = "PrivacyStatement"


class PrivacyAudit(Artifact):
    """What the walk through a selected variant's lineage found (`audit.json`): pushed only behind it."""

    TYPE_NAME = "PrivacyAudit"


class Variant(Artifact):
    """What a recipe made of the parent: `model.tflite` and what was measured on it (`variant.json`)."""

    TYPE_NAME = "Variant"


class Verdict(Artifact):
    """A gate's verdict on one variant, bound to its sha256 (`verdict.json`)."""

    TYPE_NAME = "Verdict"


class Selection(Artifact):
    """The variant to ship with its verdict, or the word that none passed (`selection.json`)."""

    TYPE_NAME = "Selection"


class Probes(Artifact):
    """What every variant's file did in a process of its own, and how quick it is (`probes.json`)."""

    TYPE_NAME = "Probes"


class Scores(Artifact):
    """What all models answer on `holdout` (`table/`), and which files they were (`models.json`)."""

    TYPE_NAME = "Scores"
