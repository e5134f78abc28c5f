"""What is said of a variant beside its file (`variant.json`), and whether the file bears it out."""

import dataclasses
from typing import Any

from components.common.compressed import Compressed
from components.common.content import sizes
from components.common.errors import ModelError
from components.shipped.promises import Kept, kept, read_again, require_kept
from components.shipped.reading import Contents, read

_INTEGER = ("int8", "int16x8")


def described(recipe: str, mode: str, made: Compressed, file: bytes) -> dict[str, Any]:
    """Reads a fresh file back.

    Args:
        recipe: its name. mode: as in `QuantizeConfig`.
        made: the model that was converted, and what its stages promised.
        file: the `.tflite`.

    Returns:
        `recipe`, `mode`, the sizes, `sparsity`, `int8_weights` and `integer_operators` as fractions of the file,
        `layers` (one `Kept` a kernel) and `skipped` (why layers stayed as they were, by stage and layer).

    Raises:
        ModelError: the file does not keep a promise; the line names the layer.
    """
    seen = read(file)
    found = kept(made, seen)
    require_kept(found)
    integers = _not_integer(mode, seen)
    if integers:
        raise ModelError(integers)
    return {
        "recipe": recipe,
        "mode": mode,
        **sizes(file),
        "sparsity": seen.sparsity,
        "int8_weights": seen.int8_weights,
        "integer_operators": seen.integer_operators,
        "layers": [dataclasses.asdict(k) for k in found],
        "skipped": made.skipped,
    }


def broken_promises(description: dict[str, Any], file: bytes) -> list[str]:
    """What of a description the file does not bear out when it is read once more, a sentence each."""
    seen = read(file)
    layers = read_again([Kept(**fields) for fields in description["layers"]], seen)
    found = [line for k in layers if (line := k.broken())]
    integers = _not_integer(description["mode"], seen)
    return [*found, integers] if integers else found


def _not_integer(mode: str, seen: Contents) -> str | None:
    if mode not in _INTEGER:
        return None
    floats = [w.name for w in seen.weights if w.dtype.startswith("float")]
    if floats:
        return f"all weights must be int8 in the file. Received: floating point in {floats[0]}"
    if seen.integer_operators < 1:
        return f"all operators must be integer in the file. Received: {100 * seen.integer_operators:.1f} % of them"
    return None
