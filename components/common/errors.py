"""Errors, one class a remedy; each knows the exit code that `lockgate` ends with."""


class LockgateError(Exception):
    """A condition that a user or operator can act on: one line that says what must hold and what came.

    exit_code: that `lockgate` ends with. cause: what the remedy is with, in one word.
    """

    exit_code = 1
    cause = "fault"


class ConfigError(LockgateError):
    """The configuration is wrong: the remedy is to change it."""

    exit_code = 2
    cause = "config"


class DataError(LockgateError):
    """The examples are wrong (missing, truncated, undecodable, outside the schema): the remedy is in the data."""

    exit_code = 2
    cause = "data"


class ServiceError(LockgateError):
    """Something the run rests on is away or full (disk, database, another run's lock): the remedy is there."""

    exit_code = 2
    cause = "service"


class ModelError(LockgateError):
    """A model cannot go through a stage or through private training: the remedy is another layer or recipe."""

    exit_code = 2
    cause = "model"


class BudgetError(LockgateError):
    """The privacy budget does not allow the run: nothing private was read."""

    exit_code = 3
    cause = "budget"


class LedgerError(LockgateError):
    """The ledger is not what it was: nothing is spent until a person has decided."""

    exit_code = 3
    cause = "ledger"


class DriftError(LockgateError):
    """A span is too far from those before it: nothing private was read."""

    exit_code = 3
    cause = "drift"


class GateError(LockgateError):
    """A gate refuses: nothing was pushed."""

    exit_code = 3
    cause = "gate"


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived. A `BaseException`, so that no library's `except Exception` swallows it.

    Args:
        signal_number: the signal, 2 or 15; the exit code is 128 plus it.
    """

    def __init__(self, signal_number: int):
        super().__init__(f"interrupted by signal {signal_number}")
        self.exit_code = 128 + signal_number
