"""When the stand-in for Kubeflow tries a step again, and when the real one would not."""

import time
from pathlib import Path

import pytest

from tests.pipeline.runners.kubeflow.cluster import ERROR, FAILED, SUCCEEDED, Cluster, Run, delete_pod, kill
from tests.pipeline.runners.kubeflow.releases import ALWAYS, RELEASES
from tests.pipeline.runners.kubeflow.retries import Strategy, Try, Verdict, verdict
from tests.pipeline.runners.kubeflow.small import group, pipeline, step

HOUR = 3600.0


def policy(retries: int, wait: str = "10s", factor: float = 2.0, longest: str | None = "3600s") -> dict:
    given = {"maxRetryCount": retries, "backoffDuration": wait, "backoffFactor": factor}
    return {**given, "backoffMaxDuration": longest} if longest else given


@pytest.fixture
def ran(tmp_path):
    """Runs one step, of which all tries fail but the last of `good`, counted from 1."""

    def ran(retry: dict | None, good: int = 99, inside: bool = False, **settings) -> Run:
        counted = tmp_path / "tries"
        counted.unlink(missing_ok=True)
        task = step(f'echo x >> {counted}; test "$(wc -l < {counted})" -ge {good}')
        task = {**task, "retry": retry} if retry else task
        tasks = {"run": group({"say": task})} if inside else {"say": task}
        return Cluster(folder=tmp_path / "steps", **settings).run(pipeline(tmp_path / "small.yaml", tasks))

    return ran


def test_a_step_is_tried_again_as_often_as_its_policy_says_and_waits_longer_each_time(ran):
    waits = []
    ended = ran(policy(3), good=4, backoff=waits.append)
    assert ended.state == SUCCEEDED and ended.steps["say"].tries == [1, 1, 1, 0] and waits == [10, 20, 40]
    ended = ran(policy(2), good=4)
    assert (ended.state, ended.steps["say"].tries) == (FAILED, [1, 1, 1])
    assert ended.steps["say"].stopped == "No more retries left" and ran(None).steps["say"].tries == [1]


def test_a_step_that_dies_after_an_hour_is_not_tried_again_where_the_policy_lasts_an_hour(ran):
    ended = ran(policy(2), good=2, lasts=lambda name: HOUR + 1)
    assert (ended.steps["say"].tries, ended.steps["say"].stopped) == ([1], "Max duration limit exceeded")
    ended = ran(policy(2), good=2, lasts=lambda name: HOUR - 5)
    assert (ended.steps["say"].tries, ended.steps["say"].stopped) == ([1], "Backoff would exceed max duration limit")
    assert ran(policy(2, longest="64800s"), good=2, lasts=lambda name: 6 * HOUR).state == SUCCEEDED
    ended = ran(policy(9, wait="1000s", factor=1.0))  # of an hour, waiting takes its share
    assert (len(ended.steps["say"].tries), ended.steps["say"].stopped[:13]) == (4, "Backoff would")


def test_a_later_try_is_ended_at_the_deadline_and_the_first_is_not(tmp_path):
    counted = tmp_path / "tries"
    script = f'echo x >> {counted}; if test "$(wc -l < {counted})" -eq 1; then sleep 1; exit 1; fi; exec sleep 60'
    tasks = {"say": {**step(script), "retry": policy(5, wait="0s", longest="3s")}}
    begun = time.monotonic()
    ended = Cluster(folder=tmp_path / "steps").run(pipeline(tmp_path / "small.yaml", tasks))
    assert ended.steps["say"].tries == [1, -15] and "Step exceeded its deadline" in ended.steps["say"].log
    assert ended.steps["say"].stopped == "Max duration limit exceeded" and 2 < time.monotonic() - begun < 20
    first = {"say": {**step("sleep 2; exit 0"), "retry": policy(5, longest="1s")}}
    assert Cluster(folder=tmp_path / "steps").run(pipeline(tmp_path / "small.yaml", first)).state == SUCCEEDED


def test_which_release_tries_which_failed_step_again(ran):
    tries = {
        name: [len(ran(policy(1), inside=inside, release=name).steps["say"].tries) for inside in (False, True)]
        for name in RELEASES
    }
    assert tries == {
        "2.4.1": [1, 1],
        "2.5.0": [2, 1],  # the root DAG's alone
        "2.14.4": [2, 2],
        "2.15.0": [2, 2],
        "2.16.1": [2, 2],
        "2.17.0": [1, 1],  # its own settings say OnError, and a failed container is none
    }
    assert ran(policy(1), good=2, release="2.17.0", retry_policy=ALWAYS).state == SUCCEEDED


def test_a_killed_container_has_failed_and_a_deleted_pod_is_an_error(ran):
    def once(end):
        def started(name, process):
            if not ended:
                ended.append(name)
                end(process)

        ended: list[str] = []
        return started

    killed = ran(policy(1), good=1, started=once(kill))
    assert killed.state == SUCCEEDED and killed.steps["say"].tries == [-9, 0]
    deleted = ran(policy(1), good=1, started=once(delete_pod))
    assert (deleted.state, deleted.states["say"], deleted.steps["say"].tries) == (FAILED, ERROR, [-9])
    assert deleted.steps["say"].stopped == "OnFailure tries no step again that is error"
    assert ran(policy(1), good=1, started=once(delete_pod), release="2.17.0").state == SUCCEEDED
    assert ran(policy(1), good=1, started=once(kill), release="2.17.0").state == FAILED


def test_without_a_maximum_2_5_has_no_end_and_later_releases_never_begin(ran):
    forever = policy(1, longest=None)
    assert ran(forever, good=2, release="2.5.0", lasts=lambda name: 99 * HOUR).state == SUCCEEDED
    ended = ran(forever, good=2, release="2.14.4")
    assert ended.steps["say"].stopped == "Max duration limit exceeded" and ended.state == FAILED


def test_a_factor_that_is_no_whole_number_is_cut_in_2_5_and_an_error_later(ran):
    waits = []
    assert ran(policy(2, factor=1.5), good=3, release="2.5.0", backoff=waits.append).state == SUCCEEDED
    assert waits == [10, 10]
    ended = ran(policy(2, factor=1.5))
    assert (ended.state, ended.states["say"]) == (FAILED, ERROR) and "invalid syntax" in ended.drivers["say"]


def test_a_step_takes_the_policy_of_the_group_around_it_since_2_14(tmp_path):
    tasks = {"run": group({"say": step("exit 1")}, retry=policy(1))}
    file = pipeline(tmp_path / "small.yaml", tasks)
    tries = {
        name: len(Cluster(folder=tmp_path / name, release=name).run(file).steps["say"].tries)
        for name in ("2.5.0", "2.14.4")
    }
    assert tries == {"2.5.0": 1, "2.14.4": 2}


def test_each_try_is_a_new_pod_with_none_of_the_files_of_the_one_before(tmp_path):
    script = 'ls "$1" 2>/dev/null && exit 0; mkdir -p "$(dirname "$1")"; echo x > "$1"; touch here; exit 1'
    tasks = {"say": {**step(script, "{{$.outputs.artifacts['page'].path}}", artifacts=["page"]), "retry": policy(1)}}
    ended = Cluster(folder=tmp_path / "steps").run(pipeline(tmp_path / "small.yaml", tasks))
    assert ended.steps["say"].tries == [1, 1] and not Path(tmp_path / "here").exists()


@pytest.mark.parametrize(
    ("tries", "now", "expected"),
    [
        ([(0, 5)], 5, Verdict(wait=10, deadline=100)),
        ([(0, 5), (15, 20)], 20, Verdict(wait=20, deadline=100)),
        ([(0, 90)], 90, Verdict(wait=10, deadline=100)),
        ([(0, 91)], 91, Verdict(stopped="Backoff would exceed max duration limit")),
        ([(0, 101)], 101, Verdict(stopped="Max duration limit exceeded")),
        ([(0, 1), (11, 12), (32, 33)], 33, Verdict(stopped="No more retries left")),
    ],
)
def test_the_deadline_counts_from_the_start_of_the_first_try(tries, now, expected):
    strategy = Strategy(limit=2, wait=10, factor=2, longest=100, policy="OnFailure")
    ended = [Try(started=started, finished=finished, phase=FAILED) for started, finished in tries]
    assert verdict(strategy, ended, now) == expected
