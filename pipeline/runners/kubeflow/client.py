"""Runs and schedules on a Kubeflow Pipelines server, through the SDK's own client (API v2beta1)."""

import contextlib
import dataclasses
import datetime
import io
import json
import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

import kfp
from google.protobuf.json_format import ParseError
from kfp_server_api import ApiException, V2beta1RecurringRun, V2beta1Run
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from components.common.errors import ConfigError, ServiceError
from pipeline.runners.kubeflow.package import Package
from pipeline.runners.kubeflow.sdk import AUTHORITIES, TOKEN, Client, way_to

_PAGE = 100
_NO_NAMESPACE = "empty namespace in multi-user mode"  # as Kubeflow's API server says it of runs, schedules, experiments
_NOT_UNDER_WAY = "Row not found"  # as TerminateRun in Kubeflow's run_store.go says it, 2.0 to 2.17


class Away(ServiceError):
    """The server gives no answer, or 429 or 5xx: it may be well again soon."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """A recurring run, as the server has it; `cron` has six fields, in the cluster's zone."""

    id: str
    name: str
    description: str | None
    cron: str | None
    enabled: bool
    catch_up: bool
    max_concurrency: int
    created: str


class Kubeflow:
    """A Kubeflow Pipelines server. Every method raises `Away` or another LockgateError when it does not do its part.

    Args:
        host: address of the UI, under which the API is, too, such as http://localhost:8080.
        namespace: of the user's profile, on a multi-user Kubeflow; else None.
        token: bearer token, or None for a server that wants none.
    """

    def __init__(self, host: str, namespace: str | None = None, token: str | None = None):
        if "@" in host:
            raise ConfigError(f"`--host` must hold no user: {TOKEN} has what the server asks for. Received: …@…")
        if not host.startswith(("http://", "https://")):
            raise ConfigError(f"`--host` must begin with http:// or https://. Received: {host}")
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise ConfigError(f"{TOKEN} must be one line of visible ASCII characters. Received: something else")
        self.host = host.rstrip("/")
        self._namespace, self._token = namespace, token
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self._client = Client(host=self.host, existing_token=token, **way_to(self.host))
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # else a warning for each try

    def submit(self, package: Package, arguments: dict[str, Any], experiment: str, name: str) -> str:
        """Starts a run now; the experiment is made if it is new.

        Returns:
            The run's id.
        """
        run = self._call(
            self._client.run_pipeline,
            experiment_id=self._experiment(experiment),
            job_name=name,
            pipeline_package_path=str(package.path),
            params=arguments,
            service_account=package.service_account(),
        )
        return run.run_id

    def schedule(
        self,
        package: Package,
        arguments: dict[str, Any],
        experiment: str,
        name: str,
        cron: str,
        description: str,
        catch_up: bool,
    ) -> str:
        """Makes a recurring run of at most one run at a time.

        Args:
            cron: six fields, in the cluster's zone.
            catch_up: start a run for every time that was missed (paused, or the one before still ran), not only for
                the newest.

        Returns:
            The recurring run's id.

        Raises:
            ConfigError: there is one of that name, which would spend the same budget twice.
        """
        if any(other.name == name for other in self.schedules()):
            raise ConfigError(f"a schedule's name must be new: delete the other one or give a --name. Received: {name}")
        made = self._call(
            self._client.create_recurring_run,
            experiment_id=self._experiment(experiment),
            job_name=name,
            description=description,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=not catch_up,
            params=arguments,
            pipeline_package_path=str(package.path),
            service_account=package.service_account(),
        )
        return made.recurring_run_id

    def run(self, run_id: str) -> V2beta1Run:
        """A run, with the details of its tasks."""
        return self._call(self._client.get_run, run_id)

    def runs(self, last: int) -> list[V2beta1Run]:
        """The newest runs, newest first, 1 to 200."""
        sort = "created_at desc"
        return self._call(self._client.list_runs, page_size=last, sort_by=sort, namespace=self._namespace).runs or []

    def terminate(self, run_id: str) -> None:
        """Ends a run that is under way: its steps are stopped, and no more of them begin. Whether its report still runs
        is up to the cluster's release of Argo.

        Raises:
            ConfigError: it has ended, or is being terminated.
        """
        try:
            self._call(self._client.terminate_run, run_id)
        except ConfigError as error:
            if _NOT_UNDER_WAY not in str(error):
                raise
            state = self.run(run_id).state
            raise ConfigError(f"a run must be under way to be terminated. Received: {run_id}, {state}") from None

    def schedules(self) -> list[Schedule]:
        """All recurring runs, oldest first."""
        found, page = [], ""
        while True:
            answer = self._call(
                self._client.list_recurring_runs,
                page_token=page,
                page_size=_PAGE,
                sort_by="created_at",
                namespace=self._namespace,
            )
            found += answer.recurring_runs or []
            page = answer.next_page_token
            if not page:
                return [_schedule(each) for each in found]

    def find(self, name_or_id: str) -> Schedule:
        """The recurring run of that id or name."""
        found = [s for s in self.schedules() if name_or_id in (s.id, s.name)]
        if len(found) != 1:
            many = f"{name_or_id}, which {', '.join(s.id for s in found)} have: say which id" if found else name_or_id
            raise ConfigError(f"a schedule must be one of `lockgate kubeflow schedules`. Received: {many}")
        return found[0]

    def pause(self, schedule: Schedule) -> None:
        """Starts no more runs of it until it is resumed."""
        self._call(self._client.disable_recurring_run, schedule.id)

    def resume(self, schedule: Schedule) -> None:
        """Starts runs of it again."""
        self._call(self._client.enable_recurring_run, schedule.id)

    def delete(self, schedule: Schedule) -> None:
        """Removes it; its runs stay."""
        self._call(self._client.delete_recurring_run, schedule.id)

    def run_address(self, run_id: str) -> str:
        """Where the UI shows a run."""
        return f"{self.host}/#/runs/details/{run_id}"

    def schedule_address(self, schedule_id: str) -> str:
        """Where the UI shows a recurring run."""
        return f"{self.host}/#/recurringrun/details/{schedule_id}"

    def _experiment(self, name: str) -> str:
        return self._call(self._client.create_experiment, name, namespace=self._namespace).experiment_id

    def _call(self, method: Callable, *args: Any, **kwargs: Any) -> Any:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the SDK prints links
                return method(*args, **kwargs)
        except ApiException as error:
            raise self._refusal(error) from None
        except HTTPError as error:
            cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            if isinstance(cause, SSLError):
                raise ServiceError(
                    f"{self.host} must have a certificate that this machine trusts: name a company's own authorities "
                    f"in {AUTHORITIES[0]}. Received: {self._line(str(cause).rpartition(': ')[2])}"
                ) from None
            raise Away(
                "Kubeflow Pipelines must answer: look at `--host`, at a port-forward that may have ended, and at the "
                f"pod ml-pipeline. Received: {self._line(str(cause).rpartition(': ')[2])} from {self.host}"
            ) from None
        except ParseError as error:
            raise ConfigError(
                "a pipeline must be compiled with the version of kfp that sends it. "
                f"Received: {kfp.__version__}, and {self._line(str(error))}"
            ) from None

    def _refusal(self, error: ApiException) -> ServiceError | ConfigError:
        """The error of the class that says who can help."""
        said = f"Received: {error.status} {self._line(_message(error))} from {self.host}"
        if error.status in (401, 403):
            return ServiceError(f"{TOKEN} must hold a token that Kubeflow Pipelines accepts. {said}")
        if error.status == 404:
            return ServiceError(f"what is asked for must be there: look at the id and at `--host`. {said}")
        if error.status == 429 or error.status >= 500:
            return Away(f"Kubeflow Pipelines must be well: look at the log of its pod ml-pipeline. {said}")
        if _NO_NAMESPACE in said:
            return ConfigError(f"`--namespace` must name your profile, where Kubeflow has profiles. {said}")
        return ConfigError(f"Kubeflow Pipelines must accept what is asked for. {said}")

    def _line(self, text: str) -> str:
        """One short line, without the token, which a proxy may quote."""
        text = " ".join(text.split())
        return (text.replace(self._token, "***") if self._token else text)[:300]


def connect(host: str, namespace: str | None) -> Kubeflow:
    """The server at an address, with the token of the environment, if there is one."""
    return Kubeflow(host, namespace, os.environ.get(TOKEN, "").strip() or None)


def _schedule(found: V2beta1RecurringRun) -> Schedule:
    cron = found.trigger and found.trigger.cron_schedule
    return Schedule(
        id=found.recurring_run_id,
        name=found.display_name,
        description=found.description,
        cron=cron and cron.cron,
        enabled=found.status == "ENABLED",
        catch_up=not found.no_catchup,
        max_concurrency=int(found.max_concurrency or 0),
        created=at(found.created_at),
    )


def at(moment: datetime.datetime) -> str:
    """A time of the server to the second, ISO 8601."""
    return moment.isoformat(timespec="seconds")


def _message(error: ApiException) -> str:
    """What the server says went wrong."""
    try:
        said = json.loads(error.body)
        return said.get("message") or said.get("error") or error.reason
    except (TypeError, ValueError, AttributeError):
        return str(error.reason)
