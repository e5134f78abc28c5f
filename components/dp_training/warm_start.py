"""Warm start: the weights that a training leaves for a later one, and what must hold of them before it goes on.

They are the mechanism's output before `deployable` changes its form. MLMD keeps the hashes of the weights and of the
statement, and the ledger the charges, so what is stated of a start does not rest on a file alone.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.common.content import sha256
from components.common.errors import ConfigError, GateError
from components.common.legacy_keras import keras
from components.privacy.book import Book
from components.privacy.config import PrivacyConfig
from components.privacy.statement import Base, Statement, load_statement

_WEIGHTS, _STATEMENT, _ARCHITECTURE = "trained.npz", "statement.json", "architecture"


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a training goes on from. fingerprint: of the weights. pretrained, public_source: of the model that they are
    from, as its statement has them."""

    content: bytes
    fingerprint: str
    base: Base
    pretrained: bool
    public_source: str

    def put_into(self, network: keras.Model) -> None:
        """Gives a fresh network the weights.

        Raises:
            ConfigError: it is of another architecture, or takes images of another shape.
        """
        with np.load(io.BytesIO(self.content), allow_pickle=False) as found:
            theirs = json.loads(found[_ARCHITECTURE].item())
            if theirs != _architecture(network):
                must = f"go on from a model of this architecture, {_in_words(_architecture(network))}"
                raise ConfigError(f"`trainer.warm_start` must {must}. Received: {_in_words(theirs)}")
            for i, variable in enumerate(network.trainable_variables):
                variable.assign(found[f"arr_{i}"])


def leave_start(network: keras.Model, model) -> None:
    """Saves a trained network's weights in its Model artifact, and their hash in MLMD."""
    weights = [variable.numpy() for variable in network.trainable_variables]
    np.savez(Path(model.uri, _WEIGHTS), *weights, **{_ARCHITECTURE: json.dumps(_architecture(network))})
    _seal(model, _WEIGHTS)


def seal_statement(model) -> None:
    """Says in MLMD which statement lies in a Model artifact."""
    _seal(model, _STATEMENT)


def start_from(model, book: Book, policy: PrivacyConfig) -> Start:
    """What there is to go on from in the Model artifact of an earlier run.

    Args:
        book: of the ledger as it is now. policy: what a pushed model may cost.

    Raises:
        GateError: the weights or the statement are not what the training left, nothing is promised about it, the
            ledger does not have its charges, or what was spent on its spans would not be pushed.
    """
    content = _sealed(model, _WEIGHTS)
    _sealed(model, _STATEMENT)
    statement = load_statement(model.uri)
    if statement.insecure:
        raise GateError(f"a warm start must be from a model with a promise. Received: {model.uri}, of a fixed seed")
    base = _charged(statement, book)
    epsilon, allowed = book.epsilon(base.spans, policy.delta, policy.records_per_person), policy.pushable_epsilon
    if not epsilon <= allowed:
        must = f"be from spans of ε at most {allowed:g}, or what it makes is never pushed"
        raise GateError(f"a warm start must {must}. Received: {epsilon:.3f} for {', '.join(base.spans)}")
    return Start(
        content=content,
        fingerprint=sha256(content),
        base=base,
        pretrained=statement.pretrained,
        public_source=statement.public_source,
    )


def _charged(statement: Statement, book: Book) -> Base:
    """All trainings behind a model, by the ledger."""
    charges = (*(statement.base.charges if statement.base else ()), statement.charge)
    missing = [id for id in charges if id not in book.charges]
    if missing:
        raise GateError(f"a warm start must be from a model that was charged. The ledger has no charge {missing[0]}")
    own = book.charges[statement.charge]
    spans = tuple(dict.fromkeys(name for id in charges for name in book.charges[id].spans))
    if (
        own.reserved != statement.mechanism
        or set(own.spans) != set(statement.spans)
        or set(spans) != set(statement.behind)
    ):
        raise GateError(
            f"the statement of a model must be as it was charged. Received: charge {own.id} on {', '.join(own.spans)}, "
            f"stated for {', '.join(statement.behind)}"
        )
    return Base(spans=statement.behind, charges=charges)


def _architecture(network: keras.Model) -> dict:
    """Layers, shapes and settings, as JSON has them."""
    weights = [[variable.name, list(variable.shape)] for variable in network.trainable_variables]
    made = {"input": list(network.input_shape[1:]), "layers": network.get_config(), "weights": weights}
    return json.loads(json.dumps(made, default=str))


def _in_words(architecture: dict) -> str:
    layers = json.dumps(architecture["layers"], sort_keys=True).encode()
    weights = ", ".join("x".join(map(str, shape)) for _, shape in architecture["weights"])
    return f"{architecture['layers']['name']} ({sha256(layers)[:8]}) with weights {weights}"


def _seal(artifact, name: str) -> None:
    """Keeps the hash of a file of an artifact with it in MLMD."""
    artifact.set_string_custom_property(name, sha256(Path(artifact.uri, name).read_bytes()))


def _sealed(artifact, name: str) -> bytes:
    """The content of a file that was sealed."""
    file = Path(artifact.uri, name)
    content = file.read_bytes() if file.is_file() else None
    if content is None or sha256(content) != artifact.get_string_custom_property(name):
        how = "none" if content is None else "another one"
        raise GateError(f"a warm start must be from the {name} that a training left. Received: {how} in {artifact.uri}")
    return content
