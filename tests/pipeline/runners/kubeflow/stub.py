"""A Kubeflow Pipelines API server in memory, which checks every request and keeps a list of what was wrong."""

import collections
import datetime
import http.server
import json
import re
import ssl
import threading
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

import kfp_server_api
import yaml
from google.protobuf.json_format import ParseDict, ParseError
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.pipeline.runners.kubeflow import robfig

LISTING = {"page_token", "page_size", "sort_by", "filter", "namespace"}
SERVERS_OWN = {
    "run_id", "recurring_run_id", "storage_state", "created_at", "updated_at", "scheduled_at", "finished_at", "state",
    "status", "error", "run_details", "state_history",
}  # fmt: skip
TYPES = {"STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool, "LIST": list}


class Refused(Exception):
    """The answer is an error; `wrong` where the request is one that a client must never send."""

    def __init__(self, status: int, message: str, wrong: bool = True):
        super().__init__(message)
        self.status, self.wrong = status, wrong


class Stub:
    """The server.

    Args:
        token: what every request must carry, or None.
        namespace: of a multi-user server, which wants it with every list, or None.

    Attributes:
        complaints: what was wrong with a request, empty after a good test.
        films: of runs by id, what it is in one look after the other; `film` is that of new runs.
        faults: for the next requests: a status to answer with, "drop" to hang up, "login" for a web page.
    """

    def __init__(self, token: str | None = None, namespace: str | None = None):
        self.token, self.namespace, self.port, self.scheme = token, namespace, 0, "http"
        self.complaints: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.experiments: dict[str, dict] = {}
        self.runs: dict[str, dict] = {}
        self.schedules: dict[str, dict] = {}
        self.film: list[dict] = [{}]
        self.films: dict[str, collections.deque] = {}
        self.faults: collections.deque = collections.deque()

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> "Stub":
        handler = type("Handler", (_Handler,), {"stub": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def secure(self, context: ssl.SSLContext) -> None:
        """Speaks TLS from now on."""
        self.scheme = "https"
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, query: dict[str, str], body: Any, headers: Any) -> dict:
        self.requests.append((method, path))
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, f"{headers.get('Authorization')} is not who may do this", wrong=False)
        for verb, pattern, allowed, does in ROUTES:
            found = re.fullmatch("/apis/v2beta1/" + pattern, path)
            if found and verb == method:
                if set(query) - allowed:
                    raise Refused(400, f"unknown query {set(query) - allowed} of {path}")
                if (body is not None) != (verb == "POST" and ":(enable" not in pattern and ":terminate" not in pattern):
                    raise Refused(400, f"{method} {path} has a body, or none: {body}")
                return does(self, query, body, *found.groups())
        raise Refused(404, f"no {method} {path}")

    def list_experiments(self, query: dict, body: None) -> dict:
        (predicate,) = json.loads(query["filter"])["predicates"]
        if (predicate["operation"], predicate["key"]) not in ((1, "display_name"), ("EQUALS", "display_name")):
            raise Refused(400, f"experiments are looked for by {predicate}")
        found = [e for e in self.experiments.values() if e["display_name"] == predicate["stringValue"]]
        return self._page(found, "experiments", query)

    def create_experiment(self, query: dict, body: dict) -> dict:
        check(body, "V2beta1Experiment", "experiment")
        if (body.get("namespace") or None) != self.namespace:
            raise Refused(400, f"an experiment of namespace {body.get('namespace')}")
        made = {**body, "experiment_id": str(uuid.uuid4()), "created_at": now()}
        return self.experiments.setdefault(made["experiment_id"], made)

    def create_run(self, query: dict, body: dict) -> dict:
        check(body, "V2beta1Run", "run")
        self._sendable(body)
        made = {**body, "run_id": str(uuid.uuid4()), "created_at": now(len(self.runs)), "state": "PENDING"}
        self.runs[made["run_id"]] = made
        self.films.setdefault(made["run_id"], collections.deque(self.film))
        return made

    def get_run(self, query: dict, body: None, run_id: str) -> dict:
        if run_id not in self.runs:
            raise Refused(404, f"Run {run_id} not found", wrong=False)
        film = self.films[run_id]
        look = film.popleft() if len(film) > 1 else film[0]
        return {**self.runs[run_id], **look}

    def terminate_run(self, query: dict, body: None, run_id: str) -> dict:
        """As `TerminateRun` of Kubeflow's resource_manager.go and run_store.go: only a run that is under way."""
        if self.get_run(query, body, run_id)["state"] not in (
            "RUNTIME_STATE_UNSPECIFIED",
            "PENDING",
            "RUNNING",
            "PAUSED",
        ):
            raise Refused(400, f"Failed to terminate a run {run_id}. Row not found", wrong=False)
        self.films[run_id] = collections.deque([{"state": "CANCELING"}])
        return {}

    def list_runs(self, query: dict, body: None) -> dict:
        if query.get("sort_by") != "created_at desc":
            raise Refused(400, f"runs sorted by {query.get('sort_by')}")
        return self._page(sorted(self.runs.values(), key=lambda r: r["created_at"], reverse=True), "runs", query)

    def create_schedule(self, query: dict, body: dict) -> dict:
        check(body, "V2beta1RecurringRun", "recurring run")
        self._sendable(body)
        cron = body["trigger"]["cron_schedule"]["cron"]
        try:
            robfig.parse(cron)
        except ValueError as error:
            raise Refused(400, f"cron {cron}: {error}") from None
        if len(cron.split()) != 6 or list(body["trigger"]) != ["cron_schedule"]:
            raise Refused(400, f"the trigger is {body['trigger']}")
        if int(body["max_concurrency"]) != 1 or body["mode"] != "ENABLE" or not isinstance(body["no_catchup"], bool):
            raise Refused(400, f"a recurring run of {body['max_concurrency']}, {body['mode']}, {body['no_catchup']}")
        made = {**body, "recurring_run_id": str(uuid.uuid4()), "created_at": now(), "status": "ENABLED"}
        made["max_concurrency"] = str(made["max_concurrency"])  # proto3 JSON writes an int64 as a string
        return self.schedules.setdefault(made["recurring_run_id"], made)

    def list_schedules(self, query: dict, body: None) -> dict:
        return self._page(list(self.schedules.values()), "recurringRuns", query)

    def switch(self, query: dict, body: None, schedule_id: str, to: str) -> dict:
        self._schedule(schedule_id)["status"] = to.upper() + "D"
        return {}

    def delete_schedule(self, query: dict, body: None, schedule_id: str) -> dict:
        del self.schedules[self._schedule(schedule_id)["recurring_run_id"]]
        return {}

    def _schedule(self, schedule_id: str) -> dict:
        if schedule_id not in self.schedules:
            raise Refused(404, f"RecurringRun {schedule_id} not found")
        return self.schedules[schedule_id]

    def _sendable(self, body: dict) -> None:
        """What a run and a recurring run share: its place, its name, and a pipeline with the parameters it declares."""
        if own := SERVERS_OWN & set(body):
            raise Refused(400, f"a client sets the server's {own}")
        if body["experiment_id"] not in self.experiments or not body["display_name"]:
            raise Refused(400, f"no such experiment, or no name: {body['experiment_id']}, {body['display_name']}")
        sent = body["pipeline_spec"]
        try:
            spec = ParseDict(sent.get("pipeline_spec", sent), pipeline_spec_pb2.PipelineSpec())
            ParseDict(sent.get("platform_spec", {}), pipeline_spec_pb2.PlatformSpec())
        except ParseError as error:
            raise Refused(400, f"the pipeline is none: {error}") from None
        declared = sent.get("pipeline_spec", sent)["root"].get("inputDefinitions", {}).get("parameters", {})
        given = body["runtime_config"].get("parameters", {})
        needed = {name for name, p in declared.items() if "defaultValue" not in p}
        bad = [name for name, value in given.items() if not _is_a(value, declared.get(name, {}).get("parameterType"))]
        if bad or needed - set(given) or spec.schema_version != "2.1.0":
            raise Refused(400, f"parameters {given} of {declared}, schema {spec.schema_version}")

    def _page(self, found: list[dict], name: str, query: dict) -> dict:
        if (query.get("namespace") or None) != self.namespace:
            raise Refused(400, "a list cannot have an empty namespace in multi-user mode", wrong=False)
        size, start = int(query.get("page_size") or 20), int(query.get("page_token") or 0)
        if not found:
            return {}
        rest = {"next_page_token": str(start + size)} if start + size < len(found) else {}
        return {name: found[start : start + size], "total_size": len(found), **rest}


ROUTES = (
    ("GET", "experiments", LISTING, Stub.list_experiments),
    ("POST", "experiments", set(), Stub.create_experiment),
    ("GET", "runs", LISTING, Stub.list_runs),
    ("POST", "runs", {"experiment_id"}, Stub.create_run),
    ("GET", "runs/([^/:]+)", set(), Stub.get_run),
    ("POST", "runs/([^/:]+):terminate", set(), Stub.terminate_run),
    ("GET", "recurringruns", LISTING, Stub.list_schedules),
    ("POST", "recurringruns", set(), Stub.create_schedule),
    ("POST", "recurringruns/([^/:]+):(enable|disable)", set(), Stub.switch),
    ("DELETE", "recurringruns/([^/:]+)", set(), Stub.delete_schedule),
)


def check(value: Any, kind: str, where: str) -> None:
    """Holds a value against a type of kfp_server_api's models; every field must be known and of its type."""
    listed, mapped = re.fullmatch(r"list\[(.*)\]", kind), re.fullmatch(r"dict\(str, (.*)\)", kind)
    model = getattr(kfp_server_api, kind, None)
    if listed or mapped:
        if not isinstance(value, list if listed else dict):
            raise Refused(400, f"{where} must be a {kind}: {value}")
        for each in value if listed else value.values():
            check(each, (listed or mapped)[1], where)
    elif model is None:
        plain = {"str": (str, int) if where.endswith(".max_concurrency") else str, "bool": bool, "int": int}
        if not isinstance(value, plain.get(kind, object)):
            raise Refused(400, f"{where} must be a {kind}: {value!r}")
        if kind == "datetime":
            datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    elif getattr(model, "allowable_values", None) or not model.openapi_types:
        if value not in model.allowable_values:
            raise Refused(400, f"{where} must be one of {model.allowable_values}: {value}")
    else:
        fields = {json_name: name for name, json_name in model.attribute_map.items()}
        if not isinstance(value, dict) or set(value) - set(fields):
            raise Refused(400, f"{where} must have fields of {kind}: {sorted(value)}")
        for name, each in value.items():
            check(each, model.openapi_types[fields[name]], f"{where}.{name}")


def _is_a(value: Any, kind: str | None) -> bool:
    return kind is not None and isinstance(value, TYPES[kind]) and isinstance(value, bool) == (kind == "BOOLEAN")


def now(later: int = 0) -> str:
    return (datetime.datetime(2026, 11, 24, 12) + datetime.timedelta(minutes=later)).isoformat() + "Z"


def look(state: str, /, history: tuple[str, ...] = (), error: str | None = None, **tasks: str) -> dict:
    """A run as the server shows it: tasks in a state each, among the nodes that Argo has besides."""
    nodes = {"a-pipeline-x7k2p": state, "root": state, "root-driver": "SUCCEEDED", "exit-handler-1": state, **tasks}
    for name in tasks:
        nodes[f"{name}-driver"] = "SUCCEEDED"
    nodes["executor"] = "SUCCEEDED"
    never = "0001-01-01T00:00:00Z"
    details = [
        {
            "task_id": str(uuid.uuid4()), "display_name": name, "state": each, "create_time": now(),
            "start_time": now(position), "end_time": now(position + 2) if each == "SUCCEEDED" else never,
            **({"error": {"code": 2, "message": error}} if error and each == "FAILED" else {}),
        }
        for position, (name, each) in enumerate(nodes.items())
    ]  # fmt: skip
    past = [{"state": s, "update_time": now()} for s in (*history, state)]
    return {"state": state, "run_details": {"task_details": details}, "state_history": past}


def compile_to(path: Path) -> tuple[dict, dict]:
    """Compiles a pipeline with what ours has: an exit handler, a condition, a secret, parameters.

    Returns:
        The two documents of the file.
    """
    from kfp import compiler, dsl, kubernetes

    from pipeline.runners.kubeflow import finish

    def component(name: str, command: list):
        def body():
            return dsl.ContainerSpec(image="python:3.10", command=command)

        body.__name__ = name
        return dsl.container_component(body)

    @dsl.container_component
    def reader(idle: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image="python:3.10", command=["cp", "/etc/hostname", idle])

    @dsl.container_component
    def selector(choice: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image="python:3.10", command=["cp", "/etc/hostname", choice])

    @dsl.pipeline(name="a-pipeline")
    def a_pipeline(root: str, epochs: int = 2, rate: float = 0.5, dry: bool = False):
        first, last = reader(), component("report", ["true"])()
        with dsl.ExitHandler(last):
            train = component("trainer", ["true"])().set_caching_options(False).after(first)
            kubernetes.use_secret_as_env(train, "mysql", {"password": "MYSQL_PASSWORD"})
            chosen = selector().after(train)
            with dsl.If(chosen.outputs["choice"] != ""):
                component("pushed", ["true"])()

    compiler.Compiler().compile(a_pipeline, str(path))
    finish.written(path, {}, 0, ("reader", "idle"))
    return tuple(yaml.safe_load_all(path.read_text()))


class _Handler(http.server.BaseHTTPRequestHandler):
    stub: Stub

    def do_GET(self) -> None:
        fault = self.stub.faults.popleft() if self.stub.faults else None
        if fault == "drop":
            self.connection.close()
            self.close_connection = True
            return
        if fault == "login":
            self._send(200, "<html>Log in</html>", "text/html")
            return
        if fault:
            self._send(fault, json.dumps({"error": "upstream connect error", "code": 14, "message": "no upstream"}))
            return
        split = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(split.query, keep_blank_values=True))
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw) if raw and raw != b"null" else None
            answer = self.stub.answer(self.command, split.path, query, body, self.headers)
            self._send(200, json.dumps(answer))
        except Refused as error:
            if error.wrong:
                self.stub.complaints.append(f"{self.command} {self.path}: {error}")
            self._send(error.status, json.dumps({"error": str(error), "code": 3, "message": str(error)}))
        except Exception as error:  # a field that must be there, and is not
            self.stub.complaints.append(f"{self.command} {self.path}: {error!r}")
            self._send(400, json.dumps({"error": repr(error), "code": 3, "message": repr(error)}))

    do_POST = do_DELETE = do_GET

    def _send(self, status: int, text: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass
