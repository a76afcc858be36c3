"""Object stores behind obstore: S3 (and what speaks its protocol) and Azure Blob Storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.exceptions import NotFoundError as StoreNotFoundError
from obstore.store import AzureStore, S3Store

from mc_pipelines.foundation.errors import ConfigurationError, NotFoundError, UnavailableError
from mc_pipelines.foundation.object_store import (
    SETTING,
    ObjectInfo,
    check_path,
    check_prefix,
    check_range,
    refuse_range,
)

if TYPE_CHECKING:
    from obstore.store import ClientConfig
    from obstore.store import ObjectStore as Store

_ENDPOINTS = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")}
"""Variables that name a server other than the cloud's own, by scheme; the first that is set counts."""


class CloudObjectStore:
    """Objects in a bucket or container."""

    def __init__(self, store: Store, url: str) -> None:
        self._store = store
        self._url = url

    def put(self, path: str, content: bytes, *, if_absent: bool = True) -> bool:
        """Write an object, wholly or not at all; see :class:`ObjectStore`."""
        check_path(path)
        with self._spoken_errors():
            try:
                # One request: a conditional write decides at the store; multipart could not be conditional.
                obstore.put(
                    self._store, path, content, mode="create" if if_absent else "overwrite", use_multipart=False
                )
            except AlreadyExistsError:
                return False
        return True

    def get(self, path: str) -> bytes:
        """Return all bytes of an object."""
        check_path(path)
        with self._spoken_errors(path):
            return obstore.get(self._store, path).bytes().to_bytes()

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``, or fewer where the object ends."""
        check_path(path)
        check_range(start, length)
        with self._spoken_errors(path):
            # Stores answer a range behind the end each in its own way, so the size is asked for first.
            size = obstore.head(self._store, path)["size"]
            if start > size:
                raise refuse_range(path, start, size)
            end = min(start + length, size)
            return obstore.get_range(self._store, path, start=start, end=end).to_bytes() if end > start else b""

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object."""
        check_path(path)
        try:
            with self._spoken_errors(path):
                obstore.head(self._store, path)
        except NotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under the folder ``prefix`` in the byte order of their paths."""
        with self._spoken_errors():
            for page in obstore.list(self._store, prefix=check_prefix(prefix) or None):
                for item in page:
                    yield ObjectInfo(item["path"], item["size"], item["last_modified"])

    def delete(self, path: str) -> None:
        """Remove an object; one that is not there is no error."""
        check_path(path)
        try:
            with self._spoken_errors(path):
                obstore.delete(self._store, path)
        except NotFoundError:
            return

    @contextmanager
    def _spoken_errors(self, path: str | None = None) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, StoreNotFoundError) as error:
            raise NotFoundError("There is no such object", field="path", value=path) from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise UnavailableError(
                "The object store refuses the credentials",
                field=SETTING,
                value=self._url,
                mend="give this process a cloud identity that may read, write and list there",
            ) from error
        except BaseError as error:
            raise UnavailableError(
                f"The object store does not answer: {str(error).splitlines()[0]}",
                field=SETTING,
                value=self._url,
                mend="check the address and the network; `mc doctor` says more",
            ) from error


def open_cloud_store(url: str) -> CloudObjectStore:
    """Open the bucket or container of an ``s3://`` or ``az://`` URL.

    Raises:
        ConfigurationError: obstore cannot read the URL or its configuration.
    """
    try:
        if url.startswith("s3://"):
            return CloudObjectStore(S3Store.from_url(url, client_options=_client("s3")), url)
        return CloudObjectStore(_azure(url), url)
    except (BaseError, ValueError) as error:
        raise ConfigurationError(
            f"The object store cannot be opened: {str(error).splitlines()[0]}",
            field=SETTING,
            value=url,
            mend="write s3://bucket/prefix or az://account/container/prefix",
        ) from error


def _azure(url: str) -> AzureStore:
    """Open ``az://account/container/prefix``; to obstore the first part of an ``az://`` is the container."""
    parts = urlsplit(url)
    container, _, prefix = parts.path.strip("/").partition("/")
    if not container:
        raise ValueError("the URL names no container")
    return AzureStore(container, prefix=prefix or None, account_name=parts.netloc, client_options=_client("az"))


def _client(scheme: str) -> ClientConfig:
    """Return timeouts, and plain HTTP only where the environment names such an endpoint (a server of one's own)."""
    options: ClientConfig = {"connect_timeout": "5s", "timeout": "60s"}
    endpoint = next(filter(None, map(os.environ.get, _ENDPOINTS[scheme])), "")
    if endpoint.startswith("http://"):
        options["allow_http"] = True
    return options
