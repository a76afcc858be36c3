"""moto for S3 and KMS, Azurite for Azure Blob Storage, fake-gcs-server for Google Cloud Storage."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

REPOSITORY = Path(__file__).parents[2]
_START_SECONDS = 60
_AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = base64.b64encode(b"a key of nobody's account, for loopback only").decode()
_AZURE_VERSION = "2021-12-02"


@contextmanager
def aws(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve AWS, and let the environment name it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        patch.setenv(name, value)
    try:
        yield
    finally:
        server.stop()


@contextmanager
def azure(patch: pytest.MonkeyPatch, container: str) -> Iterator[str]:
    """Serve Azure Blob Storage with one container; yield the account's name."""
    program = _program("azurite-blob", "npm package azurite; .ci/run installs it", ".tools/node_modules/.bin")
    port = _free_port()
    command = [program, "--inMemoryPersistence", "--silent", "--disableTelemetry", "--blobPort", str(port)]
    patch.setenv("AZURITE_ACCOUNTS", f"{_AZURE_ACCOUNT}:{_AZURE_KEY}")
    patch.setenv("AZURE_STORAGE_ENDPOINT", f"http://127.0.0.1:{port}/{_AZURE_ACCOUNT}")
    patch.setenv("AZURE_STORAGE_ACCOUNT_KEY", _AZURE_KEY)
    with _serving([*command, "--skipApiVersionCheck"], port):
        _create_container(port, container)
        yield _AZURE_ACCOUNT


@contextmanager
def google(patch: pytest.MonkeyPatch, bucket: str) -> Iterator[None]:
    """Serve Google Cloud Storage with one bucket."""
    program = _program("fake-gcs-server", "run `make tools`", ".tools/bin")
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    patch.setenv("STORAGE_EMULATOR_HOST", address)
    with _serving([*command, "-public-host", f"127.0.0.1:{port}"], port):
        httpx.post(f"{address}/storage/v1/b", json={"name": bucket}).raise_for_status()
        yield


def _create_container(port: int, container: str) -> None:
    """Create it with a request signed as Azure's documentation of Shared Key says; obstore makes none."""
    moment = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = f"x-ms-date:{moment}\nx-ms-version:{_AZURE_VERSION}\n"
    resource = f"/{_AZURE_ACCOUNT}/{_AZURE_ACCOUNT}/{container}\nrestype:container"
    text = "PUT" + "\n" * 12 + headers + resource
    digest = hmac.new(base64.b64decode(_AZURE_KEY), text.encode(), hashlib.sha256).digest()
    httpx.put(
        f"http://127.0.0.1:{port}/{_AZURE_ACCOUNT}/{container}?restype=container",
        headers={
            "x-ms-date": moment,
            "x-ms-version": _AZURE_VERSION,
            "Authorization": f"SharedKey {_AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}",
            "Content-Length": "0",
        },
    ).raise_for_status()


def _program(name: str, source: str, folder: str) -> str:
    path = shutil.which(name, path=f"{REPOSITORY / folder}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        pytest.skip(f"{name} is not here: {source}")
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _serving(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{command[0]} does not listen"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()
