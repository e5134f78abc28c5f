"""The flags of Beam that nodes get, checked by the installed Beam's own option parsers when the graph is built."""

import argparse
import difflib
from collections.abc import Iterable
from typing import Any, NoReturn

from components.common.errors import ConfigError
from pipeline.runners.beam.config import DEFAULT, KINDS, TABLE

IN_PROCESS = (
    "--runner=FnApiRunner",
    "--direct_num_workers=1",
    # Where no dependency is named, TFX packs itself for remote workers, 49 MB a node that nobody deletes.
    "--sdk_container_image=in-process",
)

_REQUIRED = {  # by runner: what Beam would ask for only when the job starts, or make up
    "FnApiRunner": (),
    "PortableRunner": ("job_endpoint", "environment_type"),
    "FlinkRunner": ("flink_master", "environment_type"),
    "DataflowRunner": ("project", "region", "temp_location", "sdk_container_image"),
}
_OWN_FLAGS = ("PortableRunner", "FlinkRunner")  # their job servers know flags that Beam's parsers do not
_CLOSE = 0.85  # of 1: so alike are `job_endpont` and `job_endpoint`


def place(nodes: Iterable[Any], args: dict[str, tuple[str, ...]], paths: Iterable[str]) -> None:
    """Gives nodes, after IN_PROCESS, the flags of their kind or else of `default`; the last of a flag counts.

    Args:
        nodes: of TFX, in place; those that do not run on Beam are left alone.
        args: the `[beam_pipeline_args]` table.
        paths: folders that workers read and write.

    Raises:
        ConfigError: Beam does not take a flag, or a runner lacks one that it needs, or cannot read a folder.
    """
    for node in nodes:
        kind = type(node).__name__
        where = kind if kind in args else DEFAULT
        if kind in KINDS and where in args:
            _check(f"{TABLE}.{where}", args[where], paths)
            node.with_beam_pipeline_args(args[where])


def _check(where: str, own: tuple[str, ...], paths: Iterable[str]) -> None:
    options, unknown = _parsed(where, own)
    runner = options.runner
    if runner not in _REQUIRED:
        raise ConfigError(f"`{where}` must name a runner of {', '.join(_REQUIRED)}. Received: --runner={runner}")
    for flag in unknown:
        meant = _closest(flag)
        if meant or runner not in _OWN_FLAGS:
            hint = f", such as --{meant}" if meant else ""
            raise ConfigError(f"`{where}` must hold flags that Beam knows{hint}. Received: {flag}")
    for name in _REQUIRED[runner]:
        if getattr(options, name) in (None, "in-process", "[auto]"):
            raise ConfigError(f"`{where}` must hold --{name}=… for {runner}. Received: {' '.join(own)}")
    local = [path for path in paths if not path.startswith("gs://")]
    if runner == "DataflowRunner" and local:
        must = "name a runner whose workers can read the root and the data; Dataflow's read gs:// alone"
        raise ConfigError(f"`{where}` must {must}. Received: {local[0]}")
    _check_environment(where, own)


def _parsed(where: str, own: tuple[str, ...]) -> tuple[argparse.Namespace, list[str]]:
    """What the installed Beam makes of the flags, and those that it does not know."""

    def refuse(message: str) -> NoReturn:  # Beam's own way is a page of usage and the end of the process
        raise ConfigError(f"`{where}` must be what Beam takes. Received: {' '.join(message.split())}")

    parser = parser_of_beam()
    parser.error = refuse
    return parser.parse_known_args([*IN_PROCESS, *own])


def parser_of_beam() -> argparse.ArgumentParser:
    """The parser of every flag that the installed Beam knows."""
    from apache_beam.options.pipeline_options import PipelineOptions

    found: list[argparse.ArgumentParser] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=found.append)
    return found[0]


def _closest(flag: str) -> str | None:
    """The flag of Beam that an unknown one is a slip of, if it is."""
    name = flag.partition("=")[0].removeprefix("--")
    known = [text.removeprefix("--") for action in parser_of_beam()._actions for text in action.option_strings]
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=_CLOSE)), None)


def _check_environment(where: str, own: tuple[str, ...]) -> None:
    """What Beam itself finds wrong, as an environment of type EXTERNAL without its address."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

    for problem in PipelineOptionsValidator(PipelineOptions([*IN_PROCESS, *own]), None).validate():
        raise ConfigError(f"`{where}` must be what Beam takes. Received: {' '.join(own)} ({problem})")
