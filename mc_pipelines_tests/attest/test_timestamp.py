"""A real authority (`openssl ts`) stamps; what it stamped is verified here and by openssl, and nothing else is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from mc_pipelines.attest.timestamp import request_timestamp, verify_timestamp
from mc_pipelines.foundation.errors import InputError, UnavailableError, VerificationError
from mc_pipelines_tests.attest.tsa import Authority, authority

pytestmark = pytest.mark.system
CONTENT = b"what existed"


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory, need_program: Callable[[str, str], str]) -> Iterator[Authority]:
    need_program("openssl", "install the Debian package openssl")
    with authority(tmp_path_factory.mktemp("tsa") / "one") as running:
        yield running


def test_what_the_authority_stamped_is_verified(tsa: Authority, tmp_path: Path) -> None:
    response = request_timestamp(tsa.url, CONTENT)
    moment = verify_timestamp(response, CONTENT, [tsa.root])
    assert abs(moment - datetime.now(UTC)) < timedelta(minutes=5)
    for name, content in (("content", CONTENT), ("response", response), ("root.pem", tsa.root)):
        (tmp_path / name).write_bytes(content)
    command = ["openssl", "ts", "-verify", "-data", "content", "-in", "response", "-CAfile", "root.pem"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    with pytest.raises(VerificationError):
        verify_timestamp(response, CONTENT + b".", [tsa.root])
    with pytest.raises(InputError):
        verify_timestamp(response, CONTENT, [])
    with pytest.raises(InputError):
        verify_timestamp(b"no stamp", CONTENT, [tsa.root])


def test_an_authority_that_is_not_trusted_counts_for_nothing(tsa: Authority, tmp_path: Path) -> None:
    with authority(tmp_path / "other") as other:
        response = request_timestamp(other.url, CONTENT)
        with pytest.raises(VerificationError):
            verify_timestamp(response, CONTENT, [tsa.root])
        assert verify_timestamp(response, CONTENT, [tsa.root, other.root])


@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(200, content=b"x"), httpx.ConnectError("down")])
def test_no_stamp_is_said_to_be_none(answer: httpx.Response | Exception) -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(UnavailableError):
        request_timestamp("http://tsa.example", CONTENT, client=httpx.Client(transport=httpx.MockTransport(respond)))


def test_an_answer_to_another_question_is_refused(tsa: Authority) -> None:
    old = request_timestamp(tsa.url, CONTENT)
    replay = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=old)))
    with pytest.raises(UnavailableError, match="not to our request"):
        request_timestamp("http://tsa.example", CONTENT, client=replay)
