"""The configuration: a TOML file, `--set`, and the checks that need the whole of it. Imports no TensorFlow."""

import datetime
import re
import sys
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from components.clustering.config import ClusterConfig
from components.common.errors import ConfigError
from components.common.settings import from_mapping, require
from components.dp_training.config import TrainerConfig
from components.drift.config import DriftConfig
from components.example_gen.config import DataConfig
from components.example_gen.placeholders import has_span, is_dated, number_of
from components.gates.config import GatesConfig
from components.privacy.config import PrivacyConfig
from components.pruning.config import PruneConfig
from components.quantization.config import QuantizeConfig
from components.search.config import SearchConfig
from components.selection.config import SelectionConfig
from pipeline.runners.beam.config import check_text
from pipeline.runners.kubeflow.config import KubeflowConfig
from pipeline.runners.vertex.config import VertexConfig
from pipeline.schedule.config import RetentionConfig, ScheduleConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRESETS = Path(__file__).parent / "configs"
STAGES = {"prune": PruneConfig, "cluster": ClusterConfig, "quantize": QuantizeConfig}
_EMBEDDED = "embedded:"
_RECIPE_NAME = re.compile(r"[a-z0-9][a-z0-9+._-]*")
_LONGEST_NAME = 63  # of a pipeline, to TFX


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One transformation in a recipe. kind: a key of STAGES; config: its settings."""

    kind: str
    config: Any


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An ordered list of stages, of which the last one quantizes, that is, writes the `.tflite`; or, by accuracy, a
    search for their levels, and no stages."""

    name: str
    stages: tuple[Stage, ...] = ()
    search: SearchConfig | None = None

    def as_in_file(self) -> list[dict[str, Any]] | dict[str, Any]:
        """What the file says of it, all defaults filled in."""
        if self.search:
            return _without_nothing(asdict(self.search))
        return [{"stage": stage.kind, **_without_nothing(asdict(stage.config))} for stage in self.stages]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything a run depends on. name: of the pipeline, under which MLMD and the serving folder know it.
    beam_pipeline_args: flags of Beam by kind of node (`HoldoutScorer`, …, or `default`), see `runners/beam`."""

    name: str
    data: DataConfig
    privacy: PrivacyConfig
    trainer: TrainerConfig
    gates: GatesConfig
    selection: SelectionConfig
    recipes: tuple[Recipe, ...]
    drift: DriftConfig = DriftConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    retention: RetentionConfig = RetentionConfig()
    vertex: VertexConfig = VertexConfig()
    beam_pipeline_args: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self):
        spanned = not self.trainer.warm_start or has_span(self.data.roles.train)
        require(spanned, "trainer.warm_start", "be false where `data.roles.train` names no span", True)
        for recipe in self.recipes:
            for i, stage in enumerate(recipe.stages):
                if stage.config.private is not None:
                    self._check_batch(f"recipes.{recipe.name}[{i}].private", stage.config.private.expected_batch_size)

    def _check_batch(self, where: str, batch: int) -> None:
        population = self.trainer.population
        require(batch <= population, f"{where}.expected_batch_size", f"be at most population ({population})", batch)

    def as_dict(self) -> dict[str, Any]:
        """The resolved settings as nested mappings, recipes as in the file."""
        keys = [field.name for field in fields(_Tables) if is_dataclass(getattr(self, field.name))]
        tables = {key: asdict(getattr(self, key)) for key in keys}
        tables["beam_pipeline_args"] = {kind: list(flags) for kind, flags in self.beam_pipeline_args.items()}
        return {"name": self.name, **tables, "recipes": {recipe.name: recipe.as_in_file() for recipe in self.recipes}}


def _without_nothing(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value not in (None, {})}


def load(source: str, overrides: list[str] | None = None) -> Config:
    """Reads a configuration.

    Args:
        source: a preset's name (`default`, `tiny`) or the path of a TOML file.
        overrides: `key=value` with a dotted key and a TOML value; a value that is no TOML is taken as a string.

    Raises:
        ConfigError: one line that says what must hold and what came.
    """
    path = PRESETS / f"{source}.toml"
    path = path if path.is_file() else Path(source)
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        presets = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
        raise ConfigError(
            f"`--config` must be a preset ({presets}) or a TOML file. Received: {source} ({error.strerror})"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} must be valid TOML. {error}") from None
    if isinstance(tables.get("data"), dict):
        _resolve_paths(tables["data"], path.parent)
    for override in overrides or []:
        _override(tables, override)
    if isinstance(tables.get("data"), dict):
        _resolve_paths(tables["data"], Path.cwd())
        _resolve_span(tables["data"])
    return from_dict(tables)


def from_dict(tables: dict[str, Any]) -> Config:
    """The inverse of `Config.as_dict`.

    Raises:
        ConfigError: one line that says what must hold and what came.
    """
    config = from_mapping(_Tables, {key: value for key, value in tables.items() if key != "recipes"}, "")
    return Config(recipes=_recipes(tables.get("recipes")), **vars(config))


@dataclass(frozen=True, kw_only=True)
class _Tables:
    """The tables of the file that are plain dataclasses."""

    name: str
    data: DataConfig
    privacy: PrivacyConfig
    trainer: TrainerConfig
    gates: GatesConfig
    selection: SelectionConfig
    drift: DriftConfig = DriftConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    retention: RetentionConfig = RetentionConfig()
    vertex: VertexConfig = VertexConfig()
    beam_pipeline_args: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self):
        valid = bool(_RECIPE_NAME.fullmatch(self.name)) and len(self.name) <= _LONGEST_NAME
        require(valid, "name", f"be of a-z, 0-9, +, ., _ and -, at most {_LONGEST_NAME} of them", self.name)
        check_text(self.beam_pipeline_args)


def _recipes(tables: Any) -> tuple[Recipe, ...]:
    if not isinstance(tables, dict) or not tables:
        raise ConfigError(f"`recipes` must name at least one recipe. Received: recipes={tables!r}")
    return tuple(_recipe(name, stages) for name, stages in tables.items())


def _recipe(name: str, stages: Any) -> Recipe:
    where = f"recipes.{name}"
    require(bool(_RECIPE_NAME.fullmatch(name)), where, "be named with a-z, 0-9, +, ., _ and -", name)
    if isinstance(stages, dict):
        return Recipe(name=name, search=from_mapping(SearchConfig, stages, where))
    if not isinstance(stages, list) or not stages:
        must = "be a list of at least one stage, or a table with `max_drop`"
        raise ConfigError(f"`{where}` must {must}. Received: {where}={stages!r}")
    made = []
    for i, table in enumerate(stages):
        kind = table.get("stage") if isinstance(table, dict) else None
        if kind not in STAGES:
            known = ", ".join(STAGES)
            raise ConfigError(f"`{where}[{i}].stage` must be one of {known}. Received: {where}[{i}]={table!r}")
        settings = {k: v for k, v in table.items() if k != "stage"}
        made.append(Stage(kind=kind, config=from_mapping(STAGES[kind], settings, f"{where}[{i}]")))
    _check_order(where, made)
    return Recipe(name=name, stages=tuple(made))


def _check_order(where: str, stages: list[Stage]) -> None:
    """Refuses an order of stages in which one undoes what another promised."""
    kinds = [stage.kind for stage in stages]
    if kinds[-1] != "quantize":
        require(False, where, "end with quantize, which writes the .tflite", kinds)
    if len(set(kinds)) < len(kinds):
        require(False, where, "have each stage once: a second pass replaces what the first one promised", kinds)
    if "prune" in kinds[1:]:
        require(False, where, "prune before it clusters: pruning clustered weights drops whole centroids", kinds)


def _override(tables: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"`--set` must be key=value. Received: {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.split(".")
    table = tables
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"`--set {key}` must name a setting in a table. `{parent}` is none")
    table[last] = value


def _resolve_paths(data: dict[str, Any], base: Path) -> None:
    """Makes `root` and `schema` absolute; `embedded:` stands for the data folder that comes with Lockgate."""
    for key in ("root", "schema"):
        value = data.get(key)
        if not isinstance(value, str) or not value or value.startswith("gs://"):
            continue
        if value.startswith(_EMBEDDED):
            data[key] = str(embedded() / value.removeprefix(_EMBEDDED))
        else:
            data[key] = str((base / value).resolve())


def _resolve_span(data: dict[str, Any]) -> None:
    """Makes a span that is given as a date, 2026-11-27, the number that it has."""
    span, roles = data.get("span"), data.get("roles")
    train = roles.get("train") if isinstance(roles, dict) else None
    if isinstance(train, str) and is_dated(train) and isinstance(span, str | datetime.date):
        number = number_of(str(span))
        require(number is not None, "data.span", "be a date like 2026-11-27, from 1970-01-01 on", str(span))
        data["span"] = number


def embedded() -> Path:
    """`data/` of a source checkout, or its copy inside an installed wheel."""
    packaged = Path(__file__).parent / "data"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "data"
