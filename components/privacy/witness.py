"""The head of the ledger as MLMD remembers it: what tells an older copy, or one cut short, from the ledger itself."""

from ml_metadata.proto import metadata_store_pb2 as pb

from components.common.mlmd import exists, opened
from components.privacy.entries import Head
from components.privacy.ledger import Ledger

_TYPE, _NAME = "LedgerHead", "ledger"


class LineageWitness:
    """The newest head, in a context of its own.

    Args:
        place: of MLMD, see `mlmd.connection`.

    Raises:
        ServiceError: by every method, if MLMD cannot be used.
    """

    def __init__(self, place: str):
        self._place = place

    def head(self) -> Head:
        """The newest head that was remembered."""
        with opened(self._place) as store:
            context = store.get_context_by_type_and_name(_TYPE, _NAME)
        if context is None:
            return Head()
        said = context.custom_properties
        return Head(said["number"].int_value, said["hash"].string_value)

    def remember(self, head: Head) -> None:
        """Remembers a head, in place of the one before."""
        with opened(self._place) as store:
            kind = store.put_context_type(pb.ContextType(name=_TYPE))
            context = store.get_context_by_type_and_name(_TYPE, _NAME) or pb.Context(type_id=kind, name=_NAME)
            context.custom_properties["number"].int_value = head.number
            context.custom_properties["hash"].string_value = head.hash
            store.put_contexts([context])


def witnessed(ledger: str, metadata: str) -> Ledger:
    """A ledger with MLMD as its witness; where that is a sqlite file, it is not there before a root's first run."""
    return Ledger(ledger, LineageWitness(metadata) if exists(metadata) else None)
