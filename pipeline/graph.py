"""The graph: from examples to the push, read top to bottom as the data flows."""

from tfx.components.evaluator.component import Evaluator
from tfx.components.example_validator.component import ExampleValidator
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import range_config_pb2
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.types.channel_utils import union

from components.clustering.component import Clusterer
from components.common.artifacts import DataCheck, Drift
from components.common.settings import to_json
from components.dp_training.component import DPTrainer
from components.drift.component import DriftDetector, EarlierDrift
from components.example_gen.component import DataChecker
from components.example_gen.config import ROLES
from components.example_gen.ingest import ImportExampleGen
from components.example_gen.placeholders import has_span
from components.example_gen.ranges import one_span
from components.example_gen.window import EarlierSpans
from components.gates.baseline import EarlierBlessedModel
from components.gates.component import CompressionGate
from components.gates.evaluation import eval_config
from components.gates.probe.component import Prober
from components.gates.push.component import Pusher
from components.gates.push.lineage import WholeLineage
from components.gates.push.parent import ServedParent
from components.gates.push.served import ServedModels
from components.gates.scoring.component import HoldoutScorer
from components.privacy.account import Account
from components.privacy.component import PrivacyAuditor
from components.pruning.component import Pruner
from components.quantization.component import Quantizer
from components.search.component import CompressionSearch
from components.selection.component import Selector
from components.statistics.component import NoisedStatistics
from pipeline.config import Config, Recipe
from pipeline.places import Places
from pipeline.runners.beam.flags import IN_PROCESS, place
from pipeline.spans import NEWEST, SPAN


def build(config: Config, places: Places, span: int | None) -> Pipeline:
    """Builds the TFX pipeline.

    Args:
        config: what to run. places: where everything is kept.
        span: of the examples; None leaves it to the runtime parameter SPAN, and without one to the newest.
    """
    components = nodes(config, places, span)
    place(components, config.beam_pipeline_args, paths=(places.artifacts, config.data.root))
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=places.artifacts,
        components=components,
        enable_cache=True,
        beam_pipeline_args=list(IN_PROCESS),
    )


def nodes(config: Config, places: Places, span: int | None) -> list[BaseNode]:
    """The nodes of the pipeline; the arguments are `build`'s."""
    data, account = to_json(config.data), to_json(_account(config, places))

    example_gen = ImportExampleGen(config.data, range_config=_range(config, span))
    examples = example_gen.outputs["examples"]
    described = ("public", "train") if config.privacy.statistics == "declared" else ("public",)
    statistics_gen = StatisticsGen(examples=examples, exclude_splits=[role for role in ROLES if role not in described])
    schema = ImportSchemaGen(schema_file=config.data.schema)
    validator = ExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema.outputs["schema"])
    earlier = _earlier_spans(config, examples, data)
    window = {"earlier": earlier[0].outputs["earlier"]} if earlier else {}
    drift = _drift(config, examples, data)
    checker = DataChecker(
        examples=examples,
        schema=schema.outputs["schema"],
        anomalies=validator.outputs["anomalies"],
        config=data,
        records_per_person=config.privacy.records_per_person,
        **window,
        **({"drift": drift[-1].outputs["drift"]} if drift else {}),
    )

    start = _warm_start(config, examples)
    trainer = DPTrainer(
        examples=examples,
        check=checker.outputs["check"],
        config=to_json(config.trainer),
        data=data,
        account=account,
        **window,
        **({"base": start[0].outputs["base"]} if start else {}),
    )
    parent = trainer.outputs["model"]
    noised = _noised_statistics(config, examples, trainer, data, account)
    baseline = Resolver(
        strategy_class=EarlierBlessedModel,
        candidate=parent,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("Baseline")
    evaluator = Evaluator(
        examples=examples,
        model=parent,
        baseline_model=baseline.outputs["model"],
        schema=schema.outputs["schema"],
        example_splits=["holdout"],
        eval_config=eval_config(config.gates, len(config.data.classes)),
    )

    recipes = {
        recipe.name: _recipe(config, places, recipe, parent, checker, examples, window) for recipe in config.recipes
    }
    made = {name: nodes[-1].outputs["variant"] for name, nodes in recipes.items()}
    measuring, judges = _gates(config, places, parent, made, examples, evaluator)
    shipping = _push(config, places, made, judges, noised)

    checked = [example_gen, statistics_gen, schema, validator, *earlier, *drift, checker, *start]
    compression = [node for nodes in recipes.values() for node in nodes]
    return [*checked, trainer, *noised, baseline, evaluator, *compression, *measuring, *judges, *shipping]


def _account(config: Config, places: Places) -> Account:
    return Account(
        policy=config.privacy,
        ledger=places.ledger,
        journals=str(places.journals),
        population=config.trainer.population,
        metadata=places.metadata,
    )


def _earlier_spans(config: Config, examples: Channel, data: str) -> list[BaseNode]:
    """The node that finds the spans to train on beside the run's own, if there are to be any."""
    if config.data.window == 1:
        return []
    found = Resolver(
        strategy_class=EarlierSpans,
        config={"window": config.data.window, "data": data},
        examples=examples,
        earlier=Channel(type=standard_artifacts.Examples),
        checks=Channel(type=DataCheck),
    )
    return [found.with_id("Window")]


def _drift(config: Config, examples: Channel, data: str) -> list[BaseNode]:
    """The nodes that compare the span with those before it, if that is wanted."""
    if config.drift.action == "off":
        return []
    before = Resolver(
        strategy_class=EarlierDrift,
        config={"reference": config.drift.reference},
        examples=examples,
        earlier=Channel(type=Drift),
    ).with_id("DriftReference")
    settings = {"config": to_json(config.drift), "data": data}
    return [before, DriftDetector(examples=examples, earlier=before.outputs["earlier"], **settings)]


def _warm_start(config: Config, examples: Channel) -> list[BaseNode]:
    """The node that finds the model to go on from, if there is to be one."""
    if not config.trainer.warm_start:
        return []
    found = Resolver(
        strategy_class=ServedParent,
        examples=examples,
        pushed=Channel(type=standard_artifacts.PushedModel),
        base=Channel(type=standard_artifacts.Model),
    )
    return [found.with_id("WarmStart")]


def _noised_statistics(config: Config, examples: Channel, trainer: BaseNode, data: str, account: str) -> list[BaseNode]:
    """The node that counts `train` with noise, if it is wanted."""
    if config.privacy.statistics != "noised":
        return []
    statement = trainer.outputs["statement"]
    return [NoisedStatistics(examples=examples, statement=statement, data=data, account=account)]


def _recipe(
    config: Config,
    places: Places,
    recipe: Recipe,
    parent: Channel,
    checker: BaseNode,
    examples: Channel,
    window: dict[str, Channel],
) -> list[BaseNode]:
    """The nodes of a recipe, of which the last one writes the variant."""
    if not recipe.search:
        settings = {"data": to_json(config.data), "account": to_json(_account(config, places))}
        return _stages(recipe, parent, examples, window, settings)
    search = CompressionSearch(
        parent=parent,
        examples=examples,
        check=checker.outputs["check"],
        config=to_json(recipe.search),
        gates=to_json(config.gates),
        data=to_json(config.data),
        recipe=recipe.name,
        competitors=len(config.recipes),
        journals=str(places.journals),
    )
    return [search.with_id(f"CompressionSearch-{recipe.name}")]


def _stages(
    recipe: Recipe, parent: Channel, examples: Channel, window: dict[str, Channel], common: dict[str, str]
) -> list[BaseNode]:
    """One node a stage, each on the model of the one before; the last one writes the variant. A private one reads all
    spans of the window."""
    nodes: list[BaseNode] = []
    model = parent
    for stage in recipe.stages:
        inputs = {"model": model, "examples": examples, **(window if stage.config.private else {})}
        settings = {**inputs, "config": to_json(stage.config), **common}
        if stage.kind == "prune":
            node = Pruner(**settings)
            model = node.outputs["pruned"]
        elif stage.kind == "cluster":
            node = Clusterer(**settings)
            model = node.outputs["clustered"]
        else:
            node = Quantizer(**settings, recipe=recipe.name)
        nodes.append(node.with_id(f"{type(node).__name__}-{recipe.name}"))
    return nodes


def _gates(
    config: Config, places: Places, parent: Channel, made: dict[str, Channel], examples: Channel, evaluator: BaseNode
) -> tuple[list[BaseNode], list[BaseNode]]:
    """The nodes that measure the variants, all together, and those that judge them, one each."""
    gates, data, variants = to_json(config.gates), to_json(config.data), union(list(made.values()))
    prober = Prober(parent=parent, variants=variants, data=data)
    served = Resolver(
        strategy_class=ServedModels,
        variants=variants,
        serving=Channel(type=standard_artifacts.PushedModel),
        best=Channel(type=standard_artifacts.PushedModel),
    ).with_id("Served")
    scorer = HoldoutScorer(
        parent=parent,
        variants=variants,
        probes=prober.outputs["probes"],
        examples=examples,
        serving=served.outputs["serving"],
        best=served.outputs["best"],
        config=gates,
        data=data,
    )
    judges = [
        CompressionGate(
            parent=parent,
            variant=variant,
            probes=prober.outputs["probes"],
            scores=scorer.outputs["scores"],
            evaluation=evaluator.outputs["evaluation"],
            blessing=evaluator.outputs["blessing"],
            config=gates,
            data=data,
            privacy=to_json(config.privacy),
            competitors=len(made),
            decisions=places.decisions,
            counted=places.counted,
        ).with_id(f"CompressionGate-{name}")
        for name, variant in made.items()
    ]
    return [prober, served, scorer], judges


def _push(
    config: Config, places: Places, made: dict[str, Channel], judges: list[BaseNode], noised: list[BaseNode]
) -> list[BaseNode]:
    """The choice among what passed, what must hold of its lineage, and the push."""
    account, variants = to_json(_account(config, places)), union(list(made.values()))
    verdicts = union([judge.outputs["verdict"] for judge in judges])
    selector = Selector(variants=variants, verdicts=verdicts, config=to_json(config.selection))
    releases = {"statistics": union([node.outputs["statistics"] for node in noised])} if noised else {}
    auditor = PrivacyAuditor(selection=selector.outputs["selection"], account=account, **releases)
    lineage = Resolver(strategy_class=WholeLineage, selection=selector.outputs["selection"]).with_id("Lineage")
    pusher = Pusher(
        selection=lineage.outputs["selection"],
        variants=variants,
        verdicts=verdicts,
        audit=auditor.outputs["audit"],
        account=account,
        serving=str(places.serving),
    )
    return [selector, auditor, lineage, pusher]


def _range(config: Config, span: int | None) -> range_config_pb2.RangeConfig | RuntimeParameter | None:
    if not has_span(config.data.roles.train):
        return None
    return RuntimeParameter(name=SPAN, ptype=str, default=NEWEST) if span is None else one_span(span)
