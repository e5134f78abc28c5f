"""The spans that a private training reads, as one set of examples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from components.common.errors import DataError
from components.common.examples import Split, iterate_split, read_split
from components.example_gen.config import DataConfig


@dataclass(frozen=True, kw_only=True)
class Window:
    """Spans, oldest first. spans: the ledger's names; fingerprints: what tells the examples of each from others; uris:
    of the Examples artifacts; image_shape: (height, width, channels) in pixels."""

    spans: tuple[str, ...]
    fingerprints: tuple[str, ...]
    uris: tuple[str, ...]
    image_shape: tuple[int, ...]

    def private(self) -> Iterator[Split]:
        """The private examples of all spans, in pieces; the caller answers for the read being charged on each."""
        for uri in self.uris:
            yield from iterate_split(uri, "train", self.image_shape)

    def public(self) -> Split:
        """The public examples of all spans."""
        splits = [read_split(uri, "public", self.image_shape) for uri in self.uris]
        return Split(
            images=np.concatenate([split.images for split in splits]),
            labels=np.concatenate([split.labels for split in splits]),
        )


def window_of(examples, earlier: Iterable, data: DataConfig) -> Window:
    """The window of a run.

    Args:
        examples: the Examples artifact of the run's own span. earlier: those of the others, None where there are none.
        data: the images.

    Raises:
        DataError: a span is there twice: its records would enter a sample twice, and the clip bounds one.
    """
    artifacts = sorted([*(earlier or ()), examples], key=lambda e: e.get_int_custom_property("span") or 0)
    spans = tuple(span_of(each, data) for each in artifacts)
    if len(set(spans)) < len(spans):
        raise DataError(f"a span must be trained on once. Received: {', '.join(spans)}")
    return Window(
        spans=spans,
        fingerprints=tuple(fingerprint_of(each) for each in artifacts),
        uris=tuple(each.uri for each in artifacts),
        image_shape=data.image_shape,
    )


def span_of(examples, data: DataConfig) -> str:
    """The ledger's name of the examples."""
    return f"{data.name}/span-{examples.get_int_custom_property('span') or 0}"


def fingerprint_of(examples) -> str:
    """What tells these examples from others."""
    return examples.get_string_custom_property("input_fingerprint") or examples.uri
