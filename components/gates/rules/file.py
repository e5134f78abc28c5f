"""What the file itself must be: small, quick, modest, as promised, and fit to serve."""

from components.common.words import number
from components.gates.config import GatesConfig
from components.gates.measured import Measurement
from components.gates.rules.limits import at_most, between
from components.gates.verdict import FAIL, INCONCLUSIVE, PASS, Check


def size(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """Raw bytes of the `.tflite`."""
    return at_most("size", "size in bytes", measured.bytes, config.max_bytes)


def memory(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """Peak memory that the interpreter takes for the file."""
    peak = measured.probe and measured.probe.peak_bytes
    return at_most("memory", "peak memory of the interpreter in bytes", peak, config.max_memory_bytes)


def latency(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """Its latency over the parent's, with the interval of 95 %."""
    ratio = measured.probe and measured.probe.latency_ratio
    if ratio is None:
        return Check("latency", INCONCLUSIVE, "latency_not_measured", "Latency was not measured.")
    figures = (
        f"The latency is {number(ratio.median)} times the parent's, between {number(ratio.low)} and "
        f"{number(ratio.high)} with confidence 95 %; allowed are {number(config.max_latency_ratio)}."
    )
    return between("latency", figures, ratio.low, ratio.high, config.max_latency_ratio)


def structure(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """Whether the file holds what the recipe's stages promised."""
    if measured.broken is None:
        return Check("structure", INCONCLUSIVE, "structure_not_read", "The file was not read back.")
    if measured.broken:
        return Check("structure", FAIL, "promise_broken", f"A promise is not kept: {'; '.join(measured.broken)}.")
    return Check("structure", PASS, "promise_kept", "The file holds what the recipe promised.")


def servability(measured: Measurement, config: GatesConfig, alpha: float) -> Check:
    """Whether it loads in a fresh process, answers, and refuses malformed input without dying."""
    if measured.probe is None:
        return Check("servability", INCONCLUSIVE, "not_probed", "The file was not tried in a process of its own.")
    if measured.probe.complaints:
        said = "; ".join(measured.probe.complaints)
        return Check("servability", FAIL, "not_servable", f"In a process of its own the file {said}.")
    sentence = "In a process of its own the file loads, answers, and refuses malformed input."
    return Check("servability", PASS, "servable", sentence)
