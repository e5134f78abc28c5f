"""A program of many processes that race for one budget, round after round; prints a JSON list of winners a round.

python -m tests.components.privacy.racing PLACE PROCESSES ROUNDS BUDGET
"""

import json
import multiprocessing
import sys

from components.common.errors import BudgetError
from components.privacy.ledger import Ledger
from tests.components.privacy.conftest import RUN, policy


def race(place: str, racer: int, rounds: int, budget: float, barrier, won, failed) -> None:
    """One racer: in every round it tries once to reserve on a span of that round."""
    RUN.curve()
    ledger = Ledger(place)
    for number in range(rounds):
        barrier.wait(300)
        try:
            ledger.reserve([f"race/{number}"], f"racer {racer}", RUN, policy(budget))
            with won.get_lock():
                won[number] += 1
        except BudgetError:
            pass
        except BaseException as error:
            failed.put(f"racer {racer} in round {number}: {error!r}")
            barrier.abort()
            raise


def main(place: str, processes: int, rounds: int, budget: float) -> None:
    """Forks the racers and waits for them."""
    context = multiprocessing.get_context("fork")
    barrier, won, failed = context.Barrier(processes), context.Array("i", rounds), context.SimpleQueue()
    racers = [
        context.Process(target=race, args=(place, i, rounds, budget, barrier, won, failed)) for i in range(processes)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    if not failed.empty():
        sys.exit(failed.get())
    print(json.dumps(list(won)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
