"""Telling by a command and a webhook that are really there."""

import http.server
import json
import sys
import threading
import time

import pytest

from components.common.errors import ConfigError
from pipeline.schedule.config import ScheduleConfig
from pipeline.schedule.tell import tell

MESSAGE = {"pipeline": "p", "outcome": "failed", "error": "the disk … is full"}


@pytest.fixture
def server():
    """A webhook: what it got, and how it answers."""
    got, open_ = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            if self.path == "/hangs":
                open_.wait(30)
            elif self.path == "/drips":
                self.wfile.write(b"HTTP/1.0 200 OK\r\n")
                while not open_.wait(0.05):
                    self.wfile.write(b"x: y\r\n")
                    self.wfile.flush()
            else:
                self.send_response(500 if self.path == "/fails" else 204)
                self.end_headers()

        def log_message(self, *_):
            """Says nothing."""

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", got
    open_.set()
    running.shutdown()
    running.server_close()


def test_a_webhook_gets_the_message(server, monkeypatch):
    url, got = server
    monkeypatch.setenv("HOOK_TOKEN", "secret-token")
    assert tell(ScheduleConfig(webhook=f"{url}/$HOOK_TOKEN"), MESSAGE) == []
    assert got == [("/secret-token", MESSAGE)]


@pytest.mark.parametrize("path", ["hangs", "drips"])
def test_a_webhook_that_hangs_is_given_up(server, path):
    url, got = server
    begun = time.monotonic()
    (problem,) = tell(ScheduleConfig(webhook=f"{url}/{path}", tell_seconds=0.5), MESSAGE)
    assert "must answer within 0.5 s" in problem and time.monotonic() - begun < 15 and len(got) == 1


def test_a_webhook_that_fails_or_is_away_is_said_without_its_address(server):
    url, _ = server
    assert tell(ScheduleConfig(webhook=f"{url}/fails"), MESSAGE) == [
        "`schedule.webhook` must take the message. Received: 500"
    ]
    (problem,) = tell(ScheduleConfig(webhook="http://127.0.0.1:9/token"), MESSAGE)
    assert "token" not in problem and "must take the message" in problem


def test_a_command_gets_the_message_on_its_standard_input(tmp_path):
    file = tmp_path / "told.json"
    command = f"{sys.executable} -c \"import sys; open('{file}', 'w').write(sys.stdin.read())\""
    assert tell(ScheduleConfig(command=command), MESSAGE) == []
    assert json.loads(file.read_text()) == MESSAGE


@pytest.mark.parametrize(
    ("command", "said"),
    [("sleep 60", "must end within 0.5 s"), ("false", "It ended with 1"), ("/no/such/program", "No such file")],
)
def test_a_command_that_does_not_take_it_is_named(command, said):
    (problem,) = tell(ScheduleConfig(command=command, tell_seconds=0.5), MESSAGE)
    assert said in problem


@pytest.mark.parametrize(
    "settings",
    [{"webhook": "ftp://x"}, {"command": "'"}, {"tell": ("all",)}, {"attempts": 0}, {"damaged": "skip"}]
    + [{"backoff_seconds": 0.0}, {"tell_seconds": -1.0}, {"cron": "x"}, {"time_zone": "x"}],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match="must"):
        ScheduleConfig(**settings)


def test_a_webhook_with_a_password_is_refused_and_not_repeated():
    for webhook in ("https://user:secret@hooks.example.org/x", "http://secret@127.0.0.1"):
        with pytest.raises(ConfigError, match="`webhook` must hold no user or password: .* \\$NAME") as refused:
            ScheduleConfig(webhook=webhook)
        assert "secret" not in str(refused.value)
    ScheduleConfig(webhook="https://hooks.example.org/@team/$TOKEN"), ScheduleConfig(webhook="$HOOK")
