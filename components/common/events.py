"""MLMD's words: events by what they say of an artifact, and names of runs.

An execution took or made it; a resolver's, which only looked at it or found it, count among all inputs and outputs.
"""

from ml_metadata.proto.metadata_store_pb2 import Event

TAKEN, MADE = (Event.INPUT, Event.DECLARED_INPUT), (Event.OUTPUT, Event.DECLARED_OUTPUT)
INPUTS, OUTPUTS = (*TAKEN, Event.INTERNAL_INPUT), (*MADE, Event.INTERNAL_OUTPUT)

ROLLBACK = "rollback-"  # with which the names of rollbacks begin, among those of runs
