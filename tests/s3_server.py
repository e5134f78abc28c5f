"""An S3 server on this machine, moto's, which answers over HTTP and looks at who asks."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import requests
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from components.common import s3

BUCKET, REGION = "pipelines", "eu-central-1"
_USER, _SECONDS = "pipeline", 60


def _answered(method: str, path: str) -> None:
    """A request is answered at once."""


@dataclass(kw_only=True)
class S3Server:
    """A server with one bucket and one user, once it is furnished. before: called with the method and the path of each
    request, before it is answered; requests: all that came."""

    url: str
    access_key: str = ""
    secret_key: str = ""
    before: Callable[[str, str], None] = _answered
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it, and to be let in."""
        keys = {s3.ACCESS_KEY: self.access_key, s3.SECRET_KEY: self.secret_key}
        return {**keys, s3.ENDPOINT: self.url, s3.REGION: REGION, "AWS_EC2_METADATA_DISABLED": "true"}

    @property
    def secret(self) -> dict[str, str]:
        """The user as a Kubernetes secret."""
        return {"accesskey": self.access_key, "secretkey": self.secret_key}

    def client(self, service: str = "s3") -> Any:
        """boto3's, as the user."""
        keys = {"aws_access_key_id": self.access_key or "nobody", "aws_secret_access_key": self.secret_key or "nothing"}
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, **keys)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """All objects under a prefix."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def allow(self, *actions: str) -> None:
        """Lets the user do this, on all that is there, and nothing else."""
        allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        self._look(False)
        policy = {"PolicyName": "what he may", "PolicyDocument": json.dumps(allowed)}
        self.client("iam").put_user_policy(UserName=_USER, **policy)
        self._look(True)

    def furnish(self) -> None:
        """Makes everything anew: the bucket, empty, and a user who may use S3; everybody else is refused."""
        self._look(False)
        self.access_key = self.secret_key = ""
        requests.post(f"{self.url}/moto-api/reset", timeout=_SECONDS).raise_for_status()
        where = {"LocationConstraint": REGION}
        self.client().create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
        iam = self.client("iam")
        iam.create_user(UserName=_USER)
        made = iam.create_access_key(UserName=_USER)["AccessKey"]
        self.allow("s3:*")
        self.access_key, self.secret_key = made["AccessKeyId"], made["SecretAccessKey"]
        self.requests.clear()

    def _look(self, at_who_asks: bool) -> None:
        after = b"0" if at_who_asks else b"inf"  # so many requests
        requests.post(f"{self.url}/moto-api/reset-auth", data=after, timeout=_SECONDS).raise_for_status()


@contextmanager
def held(server: S3Server, method: str, suffix: str) -> Iterator[threading.Event]:
    """Does not answer requests of that method, to a path with that end; the event says that one has come."""
    arrived, over = threading.Event(), threading.Event()

    def before(asked: str, path: str) -> None:
        if asked == method and path.endswith(suffix):
            arrived.set()
            over.wait(_SECONDS)
            raise ConnectionAbortedError("held")

    server.before = before
    try:
        yield arrived
    finally:
        server.before = _answered
        over.set()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Starts one."""
    moto, server = DomainDispatcherApplication(create_backend_app), S3Server(url="")

    def answer(environ, start_response):
        asked = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        server.requests.append(asked)
        try:
            server.before(*asked)
        except ConnectionError:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)  # else the client waits for an answer
            raise
        return moto(environ, start_response)

    listening = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=MotoRequestHandler)
    server.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server._look(False)  # it is of the process
        listening.shutdown()
        thread.join()
