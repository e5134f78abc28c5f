"""What is said of a variant beside its file (`variant.json`), and whether the file bears it out."""

import dataclasses
from typing import Any

from components.common.compressed import Compressed
from components.common.errors import ModelError
from components.common.tflite import sizes
from components.shipped.promises import Kept, kept, read_again, require_kept
from components.shipped.reading import Contents, contents

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
    read = contents(file)
    found = kept(made, read)
    require_kept(found)
    integers = _not_integer(mode, read)
    if integers:
        raise ModelError(integers)
    return {
        "recipe": recipe,
        "mode": mode,
        **sizes(file),
        "sparsity": read.sparsity,
        "int8_weights": read.int8_weights,
        "integer_operators": read.integer_operators,
        "layers": [dataclasses.asdict(k) for k in found],
        "skipped": made.skipped,
    }


def broken_promises(description: dict[str, Any], file: bytes) -> list[str]:
    """What of a description the file does not bear out when it is read once more, a sentence each."""
    read = contents(file)
    layers = read_again([Kept(**fields) for fields in description["layers"]], read)
    found = [line for k in layers if (line := k.broken())]
    integers = _not_integer(description["mode"], read)
    return [*found, integers] if integers else found


def _not_integer(mode: str, read: Contents) -> str | None:
    if mode not in _INTEGER:
        return None
    floats = [w.name for w in read.weights if w.values.dtype.kind == "f"]
    if floats:
        return f"all weights must be int8 in the file. Received: floating point in {floats[0]}"
    if read.integer_operators < 1:
        return f"all operators must be integer in the file. Received: {100 * read.integer_operators:.1f} % of them"
    return None
