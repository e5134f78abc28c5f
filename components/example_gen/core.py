"""Finding the files of a span and checking records, without training on any of them."""

import fnmatch
import glob
import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from components.common.errors import DataError
from components.example_gen.config import ROLES, DataConfig

_HEADER, _FOOTER = 12, 4  # bytes around a TFRecord's payload: length and its CRC before it, the payload's CRC after it
_SHOWN = 5
_FORMATS = ("PNG", "JPEG", "BMP")  # still pictures that both Pillow and TensorFlow know


@dataclass(frozen=True, kw_only=True)
class Record:
    """One example as stored. key: id (or position) for messages; image: encoded bytes; label: int, or None."""

    key: str
    image: bytes | None
    label: int | None


def find_span(data: DataConfig) -> tuple[int, dict[str, list[Path]]]:
    """Finds the span to train on, and its files by role.

    Returns:
        The span's number and, for each role, the sorted files of its split.

    Raises:
        DataError: the folder, the span or the files of a role are missing, or a file plays two roles.
    """
    root = Path(data.root)
    if not root.is_dir():
        raise DataError(f"`data.root` must be a folder that exists. Received: data.root={data.root!r}")
    spans = _spans(root, data.roles.train)
    span = data.span if data.span is not None else max(spans, default=None)
    if span is None or (spans and span not in spans):
        wanted = "a span" if span is None else f"span {span}"
        raise DataError(f"{root} must hold {wanted} for `data.roles.train` = {data.roles.train!r}. Found: {spans}")
    files = {}
    for role in ROLES:
        pattern = getattr(data.roles, role).replace("{SPAN}", str(span))
        found = [Path(p) for p in sorted(glob.glob(os.path.join(glob.escape(str(root)), pattern)))]
        files[role] = [path for path in found if path.is_file()]
        if not files[role]:
            raise DataError(f"role `{role}` must have files. Nothing matches {root / pattern}")
    _raise_if_shared(files)
    return span, files


def known_labels(schema: Path, classes: int) -> range:
    """The labels that both the schema's int_domain and the configured classes allow.

    Args:
        schema: a TFMD schema as text (.pbtxt).
        classes: number of configured classes.

    Raises:
        DataError: the file is missing or is no schema.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    try:
        parsed = text_format.Parse(schema.read_bytes(), schema_pb2.Schema())
    except (OSError, text_format.ParseError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"`data.schema` must be a TFMD schema (.pbtxt). Received: {schema}: {reason}") from None
    for feature in parsed.feature:
        if feature.name == "label" and feature.HasField("int_domain"):
            return range(max(0, feature.int_domain.min), min(feature.int_domain.max, classes - 1) + 1)
    return range(classes)


def check_framing(path: Path) -> int:
    """Walks the frames of an uncompressed TFRecord file without reading payloads.

    Returns:
        The number of records.

    Raises:
        DataError: the file is empty or ends in the middle of a record.
    """
    size, position, count = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while position < size:
            header = file.read(_HEADER)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else size
            position += _HEADER + length + _FOOTER
            if position > size:
                raise DataError(f"{path} must be a whole TFRecord file. It is cut off or damaged after record {count}")
            file.seek(position)
            count += 1
    if count == 0:
        raise DataError(f"{path} must hold examples. It is empty")
    return count


def refused(records: Iterable[Record], shape: tuple[int, ...], labels: range) -> Iterator[str]:
    """Says which records must not be trained on, and why.

    What decodes is asked of the decoder that training uses; Pillow only reads the header.

    Args:
        records: the examples of one split.
        shape: (height, width, channels) in pixels that every image must have.
        labels: the labels that the schema knows.

    Yields:
        One sentence a refused record. Nothing else about the records leaves this function.
    """
    for record in records:
        if record.label is None or record.label not in labels:
            yield f"{record.key}: label {record.label} is not in [{labels.start}, {labels.stop - 1}]"
            continue
        problem = _image_problem(record.image, shape)
        if problem:
            yield f"{record.key}: {problem}"


def raise_if_refused(by_split: dict[str, list[str]]) -> None:
    """Raises DataError that names the first refused records of each split, if there are any."""
    total = sum(len(lines) for lines in by_split.values())
    if total:
        shown = [f"{split}/{line}" for split, lines in by_split.items() for line in lines][:_SHOWN]
        more = f" … and {total - len(shown)} more" if total > len(shown) else ""
        must = "every record must decode, have the schema's shape and a known label"
        raise DataError(f"{must}. Refused: {'; '.join(shown)}{more}")


def _image_problem(encoded: bytes | None, shape: tuple[int, ...]) -> str | None:
    import io

    import tensorflow as tf
    from PIL import Image, UnidentifiedImageError

    if not encoded:
        return "there is no image"
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            found = (image.height, image.width, len(image.getbands()))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "the image cannot be decoded"
    if found != tuple(shape):
        return f"the image is {found[0]}x{found[1]}x{found[2]}, not {shape[0]}x{shape[1]}x{shape[2]}"
    try:
        tf.io.decode_image(encoded, channels=shape[2], expand_animations=False)
    except tf.errors.InvalidArgumentError:
        return "the image cannot be decoded"
    return None


def _raise_if_shared(files: dict[str, list[Path]]) -> None:
    """Refuses a file that two roles name: private examples would be read as public, or training ones would judge."""
    owners: dict[Path, str] = {}
    for role, paths in files.items():
        for path in paths:
            owner = owners.setdefault(path.resolve(), role)
            if owner != role:
                raise DataError(f"role `{role}` must have files of its own. Received: {path}, which `{owner}` has too")


def _spans(root: Path, pattern: str) -> list[int]:
    """The numbers of the spans that have at least one file for `pattern`; [0] where the pattern has no {SPAN}."""
    if "{SPAN}" not in pattern:
        return [0]
    before, after = pattern.split("{SPAN}", 1)
    folder = re.compile(re.escape(before) + r"(0|[1-9]\d*)" + fnmatch.translate(after))  # {SPAN} has no zeros before
    found = set()
    for path in glob.glob(os.path.join(glob.escape(str(root)), f"{before}*{after}")):
        match = folder.match(os.path.relpath(path, root))
        if match:
            found.add(int(match.group(1)))
    return sorted(found)
