"""Finding the files of a span and checking records, without training on any of them."""

import glob
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.common.errors import DataError
from components.example_gen.config import DataConfig
from components.example_gen.crc import masked_crc32c
from components.example_gen.placeholders import as_text, folder_of, for_all, for_span, has_span, span_of

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
        The span's number and, for each role that has files of its own, their sorted paths.

    Raises:
        DataError: the folder, the span, its marker or the files of a role are missing, or a file plays two roles.
    """
    root, patterns = existing(data.root), data.roles.patterns()
    if data.span is None:
        span = newest_span(root, patterns, data.marker)
    else:
        span = data.span
        require_span(root, patterns, data.marker, span)
    files = {role: role_files(root, pattern, span) for role, pattern in patterns.items()}
    for role, found in files.items():
        if not found:
            raise DataError(f"role `{role}` must have files. Nothing matches {root / for_span(patterns[role], span)}")
    raise_if_shared(files, data.marker)
    return span, files


def existing(root: str) -> Path:
    """`data.root` as a path.

    Raises:
        DataError: it is no folder.
    """
    if not Path(root).is_dir():
        raise DataError(f"`data.root` must be a folder that exists. Received: data.root={root!r}")
    return Path(root)


def newest_span(root: Path, patterns: Mapping[str, str], marker: str) -> int:
    """The largest number of a span that has files for `train`, and its marker where one is configured.

    Args:
        root: `data.root`. patterns: globs by role. marker: `data.marker`.

    Raises:
        DataError: there is none.
    """
    train = patterns["train"]
    spans = spans_in(root, train)
    complete = [span for span in spans if missing_marker(root, patterns, marker, span) is None]
    if complete:
        return max(complete)
    if spans:
        raise DataError(
            f"{root} must hold a span with its marker `{marker}`. Missing: "
            f"{missing_marker(root, patterns, marker, max(spans))}"
        )
    raise DataError(f"{root} must hold a span for `data.roles.train` = {train!r}. Found: []")


def require_span(root: Path, patterns: Mapping[str, str], marker: str, span: int) -> None:
    """Raises DataError if a span has nothing for `train`, or lacks its marker."""
    train = patterns["train"]
    spans = spans_in(root, train)
    if spans and span not in spans:
        found = ", ".join(as_text(train, s) for s in spans)
        must = f"hold span {as_text(train, span)} for `data.roles.train` = {train!r}"
        raise DataError(f"{root} must {must}. Found: [{found}]")
    missing = missing_marker(root, patterns, marker, span)
    if missing:
        raise DataError(f"span {as_text(train, span)} must have its marker before it is read. Missing: {missing}")


def missing_marker(root: Path, patterns: Mapping[str, str], marker: str, span: int) -> Path | None:
    """The first file that a span still lacks to be complete; None if it is, or no marker is configured."""
    if not marker:
        return None
    folders = (folder_of(pattern) for pattern in patterns.values())
    markers = (root / for_span(folder, span) / marker for folder in folders if folder)
    return next((path for path in markers if not os.path.isfile(path)), None)


def role_files(root: Path, pattern: str, span: int) -> list[Path]:
    """The sorted files of a role in a span."""
    found = glob.glob(os.path.join(glob.escape(str(root)), for_span(pattern, span)))
    return [Path(path) for path in sorted(found) if os.path.isfile(path)]


def spans_in(root: Path, pattern: str) -> list[int]:
    """The spans, sorted, of which at least one path is there for a pattern; [0] where it has no placeholder."""
    if not has_span(pattern):
        return [0]
    paths = glob.glob(os.path.join(glob.escape(str(root)), for_all(pattern)))
    spans = {span_of(pattern, os.path.relpath(path, root)) for path in paths}
    return sorted(span for span in spans if span is not None)


def raise_if_shared(files: Mapping[str, list[Path]], marker: str) -> None:
    """Refuses a file that two roles name: private examples would be read as public, or training ones would judge. And
    one that is the marker.

    Raises:
        DataError: it names the file.
    """
    owners: dict[Path, str] = {}
    for role, paths in files.items():
        for path in paths:
            if path.name == marker:
                raise DataError(f"role `{role}` must have files of examples. Received: {path}, the marker")
            owner = owners.setdefault(path.resolve(), role)
            if owner != role:
                raise DataError(f"role `{role}` must have files of its own. Received: {path}, which `{owner}` has too")


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
        DataError: the file is empty, ends in the middle of a record, or a length and its checksum disagree, as where
            room was set aside and never written.
    """
    size, position, count = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while position < size:
            header = file.read(_HEADER)
            length, crc = struct.unpack("<QI", header) if len(header) == _HEADER else (size, 0)
            position += _HEADER + length + _FOOTER
            if position > size or crc != masked_crc32c(header[:8]):
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
