"""RFC 3161 time stamps: when something existed, by the word of an authority that is not us."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mc_pipelines.foundation.errors import InputError, UnavailableError, VerificationError

if TYPE_CHECKING:
    import httpx

_TIMEOUT_SECONDS = 15.0
_OK = 200
_MAX_TOKEN_BYTES = 64 * 1024


def request_timestamp(url: str, content: bytes, *, client: httpx.Client | None = None) -> bytes:
    """Return the response of a time-stamping authority for some content (SHA-512 imprint, certificate, nonce).

    Whether the token holds is for :func:`verify_timestamp`; here only what the request asked for is compared.

    Args:
        url: where the authority takes ``application/timestamp-query``.
        content: what to stamp; only its digest leaves this machine.
        client: HTTP client, for tests.

    Raises:
        UnavailableError: the authority does not answer or grants no token.
    """
    import httpx
    from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response

    request = TimestampRequestBuilder().data(content).cert_request(cert_request=True).nonce(nonce=True).build()
    headers = {"Content-Type": "application/timestamp-query"}
    try:
        with client or httpx.Client(timeout=_TIMEOUT_SECONDS) as opened:
            answer = opened.post(url, content=request.as_bytes(), headers=headers)
    except httpx.HTTPError as error:
        raise UnavailableError(f"The authority does not answer: {error!r}", field="MC_TSA_URL", value=url) from error
    if answer.status_code != _OK or len(answer.content) > _MAX_TOKEN_BYTES:
        raise UnavailableError("The authority gives no time stamp", field="MC_TSA_URL", value=answer.status_code)
    try:
        response = decode_timestamp_response(answer.content)
        granted, nonce = response.status == 0, response.tst_info.nonce
    except ValueError as error:
        raise UnavailableError(f"The authority's answer is no time stamp: {error}", field="MC_TSA_URL") from error
    if not granted or nonce != request.nonce:
        raise UnavailableError("The authority's answer is not to our request", field="MC_TSA_URL", value=url)
    return answer.content


def verify_timestamp(response: bytes, content: bytes, authorities: Sequence[bytes]) -> datetime:
    """Return when some content existed, by a token that one of the trusted authorities signed.

    Args:
        response: the authority's response, DER.
        content: what was stamped.
        authorities: root certificates (PEM) to believe; certificates in the token are only a path to them.

    Raises:
        InputError: the response or a root certificate is malformed, or there is no authority to believe.
        VerificationError: the token does not hold, or is about something else.
    """
    from cryptography.x509 import load_pem_x509_certificate
    from rfc3161_client import VerificationError as Refused
    from rfc3161_client import VerifierBuilder, decode_timestamp_response

    if not authorities:
        raise InputError("No time-stamping authority is trusted", field="timestampAuthorities")
    try:
        parsed = decode_timestamp_response(response)
        roots = [load_pem_x509_certificate(pem) for pem in authorities]
    except ValueError as error:
        raise InputError(f"Not a time stamp or certificate: {error}", field="time stamp") from error
    problem = ""
    for root in roots:
        try:
            # The roots are tried one by one: the library's answer does not say which one it came to.
            VerifierBuilder(roots=[root]).build().verify_message(parsed, content)
        except (Refused, ValueError) as error:
            problem = str(error)
            continue
        moment = parsed.tst_info.gen_time
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    raise VerificationError(f"The time stamp does not hold: {problem}", field="time stamp")
