"""A private training from its reservation to its settlement: the one way to private examples."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from components.common.errors import LockgateError
from components.common.examples import Split
from components.common.legacy_keras import keras
from components.common.locks import hold
from components.common.progress import tell
from components.common.projections import Held
from components.dp_training.config import TrainerConfig
from components.dp_training.core import train_privately
from components.dp_training.journal import Journal
from components.dp_training.scratch import ScratchExamples
from components.privacy.account import Account
from components.privacy.accounting import Mechanism, epsilon_of, noise_multiplier_for
from components.privacy.book import Charge
from components.privacy.config import PrivacyConfig
from components.privacy.reservation import Wanted


class ChargedTraining:
    """A private training whose charge is reserved; a run that was killed finds its charge and its journal again, and
    one that trains the same at the same time waits until `train` has ended, and then finds it trained.

    Args:
        account: what it is charged to.
        spans: the ledger's names of all that it will read.
        run: names the training by all that its outcome depends on (`run_key`).
        mechanism: what it will execute.
        save_seconds: time after which its state is saved again.
        also: what is charged together with it, see `Ledger.reserve`.

    Raises:
        BudgetError: a span's budget would be passed; nothing was reserved or read.
        LedgerError: the ledger is not what it was.
    """

    def __init__(
        self,
        account: Account,
        spans: Sequence[str],
        run: str,
        mechanism: Mechanism,
        save_seconds: float,
        also: Mapping[str, Wanted] | None = None,
    ):
        self._book, self._folder = account.open(), Path(account.journals, run)
        self._lock = hold(Path(account.journals, f"{run}.lock"), "the journal of this training")
        self._policy, self.mechanism = account.policy, mechanism
        charge = self._book.charge_of(spans, run, mechanism)
        if charge is None or not self._stands_at(charge):
            self._discard()  # before the charge: an old journal must not be found under a new one
            charge = self._book.reserve(spans, run, mechanism, account.policy, also)
            self._folder.mkdir(parents=True, mode=0o700)
        self.charge = charge.id
        self._journal = Journal(self._folder, save_seconds)

    def epsilon_of(self, spans: Sequence[str]) -> float:
        """ε at the policy's δ of all that was charged to some spans until now, see `Book.epsilon`."""
        return self._book.book().epsilon(spans, self._policy.delta, self._policy.records_per_person)

    @property
    def has_begun(self) -> bool:
        """Whether an earlier process left a state to go on from."""
        return self._journal.load() is not None

    def train(
        self,
        model: keras.Model,
        private: Iterable[Split],
        config: TrainerConfig,
        scratch_folder: str,
        held: Held | None = None,
    ) -> None:
        """Trains `model` in place on a scratch copy of the private examples, and settles the charge."""
        try:
            with ScratchExamples(private, scratch_folder) as scratch:
                train_privately(model, scratch, config, self.mechanism, self._journal, self._told(), held)
            self._book.settle(self.charge, self._journal.executed)
        except LockgateError:  # it cannot go on from here: what was executed is charged, another try starts anew
            self._discard()
            self._book.settle(self.charge, self._journal.executed)
            raise
        finally:
            self._lock.release()

    def _stands_at(self, charge: Charge) -> bool:
        """Whether there is a journal, and it counts what was settled: an older copy of it would execute steps again."""
        if not self._folder.exists():
            return False
        journal = Journal(self._folder, 0.0)
        journal.close()
        return journal.executed >= (charge.executed or 0)

    def _discard(self) -> None:
        """Removes the journal in one step, so that a kill leaves no part of it that counts fewer steps than were."""
        if self._folder.exists():
            aside = tempfile.mkdtemp(dir=self._folder.parent)
            self._folder.rename(aside)
            shutil.rmtree(aside)

    def _told(self):
        """Tells step and ε about twenty times over the run."""
        steps, delta = self.mechanism.steps, self._policy.delta
        every, target = max(1, steps // 20), epsilon_of([self.mechanism], delta)

        def tell_step(step: int) -> None:
            if step % every == 0 or step == 1:
                spent = epsilon_of([self.mechanism.first(step)], delta)
                tell(f"step {step} of {steps}, ε {spent:.2f} of {target:.3g}")

        return tell_step


def mechanism_for(epsilon: float, policy: PrivacyConfig, probability: float, steps: int) -> Mechanism:
    """The mechanism of so many steps at a sampling probability that costs at most `epsilon` at the policy's δ alone."""
    group = policy.records_per_person
    noise = noise_multiplier_for(epsilon, policy.delta, probability, steps, group=group)
    return Mechanism(noise_multiplier=noise, sampling_probability=probability, steps=steps, group=group)


def run_key(*parts: str) -> str:
    """Names a training by all that its outcome depends on, so that it finds its journal again, and no other does."""
    return hashlib.sha256("\0".join([*parts, version("lockgate")]).encode()).hexdigest()[:32]
