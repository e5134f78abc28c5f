"""The SDK's real client against a server that checks every request."""

import socket

import pytest
import yaml
from tfx.proto.orchestration import pipeline_pb2

from components.common.errors import ConfigError, ServiceError
from pipeline.config import load
from pipeline.runners.kubeflow import sdk
from pipeline.runners.kubeflow.carried import Carried, packed
from pipeline.runners.kubeflow.client import Away, Kubeflow
from pipeline.runners.kubeflow.package import read
from pipeline.runners.kubeflow.settings import written

ARGUMENTS = {"root": "s3://bucket/root", "epochs": 3, "rate": 1, "dry": True}


def scheduled(kubeflow: Kubeflow, package, name: str, catch_up: bool = False) -> str:
    arguments = {"root": "/data"}
    return kubeflow.schedule(package, arguments, "nightly", name, "0 0 2 * * *", "0 2 * * * UTC", catch_up)


def test_a_run_arrives_with_both_documents_of_the_file_and_its_parameters(server, pipeline_file):
    run_id = Kubeflow(server.address + "/").submit(read(pipeline_file), ARGUMENTS, "first", "by hand")
    pipeline, platform = yaml.safe_load_all(pipeline_file.read_text())
    run = server.runs[run_id]
    assert run["pipeline_spec"] == {"pipeline_spec": pipeline, "platform_spec": platform}
    assert "MYSQL_PASSWORD" in str(platform)
    assert run["runtime_config"] == {"parameters": ARGUMENTS}
    assert server.experiments[run["experiment_id"]]["display_name"] == "first"


def test_a_file_without_a_platform_document_arrives_as_it_is(server, pipeline_file, tmp_path):
    pipeline, _ = yaml.safe_load_all(pipeline_file.read_text())
    alone = tmp_path / "alone.yaml"
    alone.write_text(yaml.safe_dump(pipeline))
    run_id = Kubeflow(server.address).submit(read(alone), ARGUMENTS, "first", "by hand")
    assert server.runs[run_id]["pipeline_spec"] == pipeline


def test_an_experiment_is_made_once(server, pipeline_file):
    kubeflow, package = Kubeflow(server.address), read(pipeline_file)
    for name in ("one", "two"):
        kubeflow.submit(package, ARGUMENTS, "same", name)
    assert len(server.experiments) == 1 and len(server.runs) == 2
    assert [run.display_name for run in kubeflow.runs(10)] == ["two", "one"]
    assert [run.display_name for run in kubeflow.runs(1)] == ["two"]


@pytest.mark.parametrize("catch_up", [True, False])
def test_a_schedule_arrives_as_one_run_at_a_time(server, pipeline_file, catch_up):
    made = scheduled(Kubeflow(server.address), read(pipeline_file), "nightly", catch_up)
    kept = server.schedules[made]
    assert kept["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * *"}}
    assert (kept["max_concurrency"], kept["no_catchup"], kept["mode"]) == ("1", not catch_up, "ENABLE")
    pipeline, platform = yaml.safe_load_all(pipeline_file.read_text())
    assert kept["pipeline_spec"] == {"pipeline_spec": pipeline, "platform_spec": platform}
    (found,) = Kubeflow(server.address).schedules()
    assert (found.id, found.cron, found.enabled, found.catch_up) == (made, "0 0 2 * * *", True, catch_up)
    assert (found.max_concurrency, found.description) == (1, "0 2 * * * UTC")


def test_schedules_are_found_over_many_pages_paused_resumed_and_deleted(server, pipeline_file):
    kubeflow = Kubeflow(server.address)
    first = scheduled(kubeflow, read(pipeline_file), "night 0")
    for number in range(1, 230):
        server.schedules[f"id-{number}"] = {
            **server.schedules[first], "recurring_run_id": f"id-{number}", "display_name": f"night {number}",
        }  # fmt: skip
    assert len(kubeflow.schedules()) == 230
    found = kubeflow.find("night 229")
    assert found.id == "id-229" and kubeflow.find("id-229") == found
    kubeflow.pause(found)
    assert not kubeflow.find("id-229").enabled and kubeflow.find("night 228").enabled
    kubeflow.resume(found)
    assert kubeflow.find("id-229").enabled
    kubeflow.delete(found)
    assert "id-229" not in server.schedules and len(server.schedules) == 229
    with pytest.raises(ConfigError, match="must be one of"):
        kubeflow.find("night 229")
    server.schedules["id-1"]["display_name"] = "night 2"
    with pytest.raises(ConfigError, match="id-1, id-2 have: say which"):
        kubeflow.find("night 2")


def test_the_steps_of_a_run_and_of_a_schedule_are_whom_the_configuration_names(server, pipeline_file, tmp_path):
    spec, platform = yaml.safe_load_all(pipeline_file.read_text())
    settings = written(load("tiny", ["kubeflow.service_account=trainer"]))
    shared = Carried(graph=pipeline_pb2.Pipeline(), settings=settings, code="", metadata="")
    spec["deploymentSpec"]["executors"]["exec-reader"]["container"]["args"] = [f"--carries={packed(shared)}"]
    carrier = tmp_path / "carrier.yaml"
    carrier.write_text(yaml.safe_dump_all([spec, platform]))
    kubeflow = Kubeflow(server.address)
    kubeflow.submit(read(carrier), ARGUMENTS, "first", "by hand"), scheduled(kubeflow, read(carrier), "nightly")
    kept = [*server.runs.values(), *server.schedules.values()]
    assert [each["service_account"] for each in kept] == ["trainer", "trainer"]
    kubeflow.submit(read(pipeline_file), ARGUMENTS, "first", "by hand")
    assert not list(server.runs.values())[-1].get("service_account")


def test_a_second_schedule_of_a_name_is_refused(server, pipeline_file):
    kubeflow = Kubeflow(server.address)
    scheduled(kubeflow, read(pipeline_file), "nightly")
    with pytest.raises(ConfigError, match="must be new"):
        scheduled(kubeflow, read(pipeline_file), "nightly")
    assert len(server.schedules) == 1


def test_a_multi_user_server_gets_the_namespace(server, pipeline_file):
    server.namespace = "team-a"
    kubeflow = Kubeflow(server.address, namespace="team-a")
    kubeflow.submit(read(pipeline_file), ARGUMENTS, "first", "by hand")
    assert len(kubeflow.runs(10)) == 1 and kubeflow.schedules() == []
    assert [e["namespace"] for e in server.experiments.values()] == ["team-a"]
    with pytest.raises(ConfigError, match="^`--namespace` must name your profile.* empty namespace in multi-user"):
        Kubeflow(server.address).runs(10)


def test_a_token_goes_with_every_request_and_is_quoted_by_no_error(server, pipeline_file, caplog):
    server.token = "eyJ-the-secret"
    caplog.set_level("DEBUG")
    kubeflow = Kubeflow(server.address, token="eyJ-the-secret")
    kubeflow.submit(read(pipeline_file), ARGUMENTS, "first", "by hand")
    assert len(server.requests) == 3  # look for the experiment, make it, make the run
    with pytest.raises(ServiceError, match=r"LOCKGATE_KFP_TOKEN must hold .* 401 Bearer \*\*\* is not"):
        Kubeflow(server.address, token="eyJ-the-other").runs(1)  # the stub quotes it, as no server should
    for wrong in ("eyJ the\nsecret", "eyJ-the-sécret"):
        with pytest.raises(ConfigError, match="one line of visible ASCII") as caught:
            Kubeflow(server.address, token=wrong)
        assert wrong not in str(caught.value)
    assert "eyJ" not in caplog.text


@pytest.mark.parametrize(
    ("faults", "kind", "part"),
    [
        ([503], Away, "503 no upstream"),
        ([429], Away, "429"),
        ([401], ServiceError, "LOCKGATE_KFP_TOKEN"),
        ([403], ServiceError, "LOCKGATE_KFP_TOKEN"),
        ([404], ServiceError, "look at the id"),
        ([400], ConfigError, "400 no upstream"),
        (["login"], ServiceError, "login page"),
        (["drop"] * 4, Away, "closed connection without response"),
    ],
)
def test_what_goes_wrong_is_one_line_with_its_remedy(server, faults, kind, part):
    server.faults.extend(faults)
    with pytest.raises(kind, match=part) as caught:
        Kubeflow(server.address).runs(1)
    assert type(caught.value) is kind and caught.value.exit_code == 2
    assert "\n" not in str(caught.value) and "Received: " in str(caught.value)
    assert not server.faults


def test_nobody_at_the_address_is_said_at_once_and_a_hung_server_in_the_end(server, monkeypatch, caplog):
    server.stop()
    with pytest.raises(Away, match="Connection refused"):
        Kubeflow(server.address).runs(1)
    monkeypatch.setattr(sdk, "_REQUEST_SECONDS", (0.1, 0.1))
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(Away, match="(?i)timed? ?out"):
        Kubeflow(f"http://127.0.0.1:{mute.getsockname()[1]}").runs(1)
    assert caplog.text == ""  # no line for each try
    server.start()
    with pytest.raises(ConfigError, match="must begin with http"):
        Kubeflow("localhost:8080")
