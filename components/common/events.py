"""MLMD's words: events by what they say of an artifact, names of runs, and what is noted on a run.

An execution took or made it; a resolver's, which only looked at it or found it, count among all inputs and outputs.
"""

from ml_metadata.proto.metadata_store_pb2 import Context, Event

TAKEN, MADE = (Event.INPUT, Event.DECLARED_INPUT), (Event.OUTPUT, Event.DECLARED_OUTPUT)
INPUTS, OUTPUTS = (*TAKEN, Event.INTERNAL_INPUT), (*MADE, Event.INTERNAL_OUTPUT)

ROLLBACK = "rollback-"  # with which the names of rollbacks begin, among those of runs
CAUSE, IDLE = "lockgate_cause", "idle"  # of a run that did nothing, or was refused (as in `LockgateError`)


def is_idle(run: Context) -> bool:
    """Whether a run found nothing to do."""
    return CAUSE in run.custom_properties and run.custom_properties[CAUSE].string_value == IDLE
