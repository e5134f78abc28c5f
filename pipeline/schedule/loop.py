"""The foreground schedule: fires when the timetable says so, whatever the clock does meanwhile."""

import datetime
import subprocess
from collections.abc import Callable, Sequence

from components.common.errors import Interrupted
from pipeline.guards import Signals
from pipeline.schedule.cron import Timetable
from pipeline.schedule.state import Memory

_LOOK_SECONDS = 60.0  # a clock that was set is noticed after so long


class Loop:
    """Fires for ever.

    A firing that was missed, because nothing ran then or the clock jumped over it, is made up for once. A clock that
    was set back fires again at times that come again: there is nothing due then.

    Args:
        timetable: when. memory: when it fired last. now: the time with its zone. pause: waits so many seconds.
        announce: is told when the next firing is.
    """

    def __init__(
        self,
        timetable: Timetable,
        memory: Memory,
        now: Callable[[], datetime.datetime],
        pause: Callable[[float], None],
        announce: Callable[[datetime.datetime], None],
    ):
        self._timetable, self._memory, self._now, self._pause, self._announce = timetable, memory, now, pause, announce

    def run(self, fire: Callable[[], None]) -> None:
        """Calls `fire` at every firing; ends when `pause` or `fire` raises."""
        last, announced = self._memory.load().fired or self._now(), None
        while True:
            last = min(last, self._now())
            coming = self._timetable.after(last)
            if self._now() >= coming:
                fire()
                last, announced = max(last, self._now()), None
                continue
            if coming != announced:
                self._announce(coming)
                announced = coming
            self._pause(min(_LOOK_SECONDS, (coming - self._now()).total_seconds()))


def run_as_process(command: Sequence[str], signals: Signals) -> int:
    """Runs a firing as a process of its own, so that what it takes is given back; an interrupt reaches it too.

    Returns:
        Its exit code.

    Raises:
        Interrupted: once it has ended, in its own way.
    """
    process = subprocess.Popen(command)
    try:
        with signals.interrupting():
            return process.wait()
    except Interrupted:
        process.terminate()
        process.wait()
        raise
