"""Media in a bucket, over the S3 protocol. What servers differ in: docs/subsystems/media-storage.md."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from media.storage import names, presign, signing
from media.storage.guard import Guard
from media.storage.interface import (
    CHUNK,
    OWN_PART,
    Bytes,
    Entry,
    NotStored,
    OpenUpload,
    Part,
    Storage,
    StorageUnavailable,
    Stored,
    WrongParts,
    check_numbers,
    check_part,
    sha256_b64,
)
from media.storage.s3_client import ERRORS, Clients, meaning

#: So often a stream that broke off goes on where it was, without any byte in between.
_RESUMES = 2
#: S3's most for one request.
_DELETED_AT_ONCE = 1_000
#: Settings of the bucket that each write repeats.
_SSE = ("ServerSideEncryption", "SSEKMSKeyId")


class S3(Storage):
    """``backend``: the ``storages.backends.s3.S3Storage`` that says which bucket, where, and with which keys. ``checksum``: see
    :meth:`_checked`."""

    def __init__(self, backend: Any, clients: Clients, guard: Guard, *, checksum: str = "md5") -> None:
        self._clients, self._guard, self._checksum = clients, guard, checksum
        self._bucket: str = backend.bucket_name
        self._location: str = f"{backend.location.strip('/')}/" if backend.location.strip("/") else ""
        self._sse = {
            name: backend.object_parameters[name] for name in _SSE if name in backend.object_parameters
        }

    # -- uploads in parts

    def begin(
        self,
        key: str,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str = "",
        *,
        signed: bool = False,
    ) -> str:
        written = self._written(media_type, metadata, cache_control)
        if self._checksum == "sha256" and not signed:  # S3 would ask each part of a client for its checksum
            written["ChecksumAlgorithm"] = "SHA256"
        answer = self._call("begin", self._clients.ask, "create_multipart_upload", key, **written)
        return str(answer["UploadId"])

    def part(self, key: str, token: str, number: int, data: Bytes) -> Part:
        check_part(number, memoryview(data).nbytes)
        body = bytes(data) if isinstance(data, memoryview) else data
        digest = sha256_b64(body)
        answer = self._call(
            "part",
            self._clients.transfer,
            "upload_part",
            key,
            UploadId=token,
            PartNumber=number,
            Body=body,
            **self._checked(body, digest),
        )
        return Part(number, answer["ETag"], len(body), digest)

    def signed_part(
        self, key: str, token: str, number: int, size: int, *, expires_s: int, now_ms: int
    ) -> str:
        check_part(number, size)
        asked = {"UploadId": token, "PartNumber": number}
        return self._signed(
            "upload_part", key, asked, now_ms // 1000, expires_s, "PUT", {"content-length": str(size)}
        )

    def list_parts(self, key: str, token: str) -> list[Part]:
        found: list[Part] = []
        asked: dict[str, Any] = {"UploadId": token}
        while True:
            page = self._call("list_parts", self._clients.ask, "list_parts", key, **asked)
            found += [Part(one["PartNumber"], one["ETag"], one["Size"], "") for one in page.get("Parts", ())]
            if not page.get("IsTruncated"):
                return found
            asked["PartNumberMarker"] = page["NextPartNumberMarker"]

    def complete(self, key: str, token: str, parts: Sequence[Part]) -> int:
        check_numbers(parts)
        checked = self._checksum == "sha256" and all(part.sha256_b64 for part in parts)
        if checked and parts[-1].number != len(parts):
            raise WrongParts("with S3_CHECKSUM=sha256 part numbers have no gaps")
        sums = [{"ChecksumSHA256": part.sha256_b64} if checked else {} for part in parts]
        listed = [
            {"PartNumber": part.number, "ETag": part.etag, **one}
            for part, one in zip(parts, sums, strict=True)
        ]
        try:
            self._call(
                "complete",
                self._clients.finish,
                "complete_multipart_upload",
                key,
                UploadId=token,
                MultipartUpload={"Parts": listed},
            )
        except NotStored:
            if not self._holds(key, parts):
                raise
        size, expected = self.size(key), sum(part.size for part in parts)
        if size != expected:
            raise StorageUnavailable(f"complete: {size} bytes instead of {expected}")
        return size

    def _holds(self, key: str, parts: Sequence[Part]) -> bool:
        """Whether the object is made of these parts: then an earlier ``complete`` made it, whose answer was lost."""
        try:
            head = self._call("complete", self._clients.ask, "head_object", key)
        except NotStored:
            return False
        found = head["ETag"].strip('"')
        if head.get("ServerSideEncryption", "").startswith("aws:kms"):  # its tags are no digests
            size = sum(part.size for part in parts)
            return bool(head["ContentLength"] == size) and found.endswith(f"-{len(parts)}")
        try:
            digests = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
        except ValueError:
            return False
        return bool(found == f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}")

    def abort(self, key: str, token: str) -> None:
        try:
            self._call("abort", self._clients.ask, "abort_multipart_upload", key, UploadId=token)
        except NotStored:
            pass

    def open_uploads(self, begun_before_ms: int) -> Iterator[OpenUpload]:
        asked: dict[str, Any] = {"Prefix": self._location} if self._location else {}
        while True:
            page = self._call("open_uploads", self._clients.ask, "list_multipart_uploads", **asked)
            for upload in page.get("Uploads", ()):
                begun_ms = int(upload["Initiated"].timestamp() * 1000)
                if begun_ms < begun_before_ms:
                    yield OpenUpload(upload["Key"].removeprefix(self._location), upload["UploadId"], begun_ms)
            if not page.get("IsTruncated"):
                return
            asked |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    # -- whole objects

    def put(
        self,
        key: str,
        data: Bytes | Path,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str = "",
    ) -> int:
        if isinstance(data, Path):
            if data.stat().st_size > OWN_PART:
                return self._put_in_parts(key, data, media_type, metadata, cache_control)
            data = data.read_bytes()
        body = bytes(data) if isinstance(data, memoryview) else data
        written = self._written(media_type, metadata, cache_control)
        self._call(
            "put",
            self._clients.transfer,
            "put_object",
            key,
            Body=body,
            **written,
            **self._checked(body, sha256_b64(body)),
        )
        return len(body)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            self.describe(key)
            return b""
        end = "" if length is None else str(start + length - 1)
        asked = {"Range": f"bytes={start}-{end}"} if start or end else {}

        def fetch() -> bytes:
            try:
                answer = self._clients.transfer().get_object(
                    Bucket=self._bucket, Key=self._name(key), **asked
                )
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 416:
                    return b""
                raise
            with closing(answer["Body"]) as body:
                data: bytes = body.read()
                return data

        return self._guarded("read", fetch)

    def stream(self, key: str, chunk: int = CHUNK) -> Iterator[bytes]:
        position, tag, resumes = 0, "", 0
        while True:
            try:
                with closing(self._open(key, position, tag)) as opened:
                    tag = opened.tag
                    while piece := self._guarded("stream", lambda: opened.read(chunk)):
                        yield piece
                        position, resumes = position + len(piece), 0
                    return
            except StorageUnavailable:
                resumes += 1
                if not tag or resumes > _RESUMES:
                    raise

    def _open(self, key: str, position: int, tag: str) -> _Opened:
        asked = {"Range": f"bytes={position}-", "IfMatch": tag} if tag else {}
        answer = self._call("stream", self._clients.transfer, "get_object", key, **asked)
        return _Opened(answer["Body"], answer["ETag"])

    def describe(self, key: str) -> Stored:
        head = self._call("describe", self._clients.ask, "head_object", key)
        return Stored(
            key,
            head["ContentLength"],
            head.get("ContentType", ""),
            head.get("Metadata", {}),
            head.get("CacheControl", ""),
            head["ETag"],
            int(head["LastModified"].timestamp() * 1000),
        )

    def copy(
        self, source: str, target: str, metadata: Mapping[str, str] | None = None, *, etag: str = ""
    ) -> None:
        found = self.describe(source)
        given = found.metadata if metadata is None else metadata
        self._call(
            "copy",
            self._clients.finish,
            "copy_object",
            target,
            CopySource={"Bucket": self._bucket, "Key": self._name(source)},
            MetadataDirective="REPLACE",  # onto itself an object is copied only with something new
            **({"CopySourceIfMatch": etag} if etag else {}),
            **self._written(found.media_type, given, found.cache_control),
        )

    def delete(self, keys: Iterable[str]) -> None:
        waiting = [self._name(key) for key in keys]
        while waiting:
            batch, waiting = waiting[:_DELETED_AT_ONCE], waiting[_DELETED_AT_ONCE:]
            listed = {"Objects": [{"Key": name} for name in batch], "Quiet": True}
            answer = self._call("delete", self._clients.ask, "delete_objects", Delete=listed)
            if refused := answer.get("Errors"):
                raise StorageUnavailable(
                    f"delete: {refused[0].get('Code', '')} for {len(refused)} of {len(batch)} keys"
                )

    def keys(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        asked: dict[str, Any] = {"Prefix": self._location + prefix}
        if after:
            asked["StartAfter"] = self._location + after
        while True:
            page = self._call("keys", self._clients.ask, "list_objects_v2", **asked)
            for item in page.get("Contents", ()):
                key = item["Key"].removeprefix(self._location)
                yield Entry(key, item["Size"], int(item["LastModified"].timestamp() * 1000))
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def signed_url(
        self, key: str, *, expires_s: int, media_type: str, filename: str | None = None, now_ms: int
    ) -> str:
        made_s, until_s = signing.window(now_ms, expires_s)
        answered = {
            "ResponseContentType": names.check_media_type(media_type),
            "ResponseContentDisposition": signing.disposition(media_type, filename),
            "ResponseCacheControl": f"private, max-age={expires_s}, immutable",
        }
        return self._signed("get_object", key, answered, made_s, until_s - made_s)

    def _signed(
        self,
        operation: str,
        key: str,
        asked: dict[str, Any],
        made_s: int,
        expires_s: int,
        method: str = "GET",
        headers: dict[str, str] | None = None,
    ) -> str:
        client = self._clients.unsigned()
        url = client.generate_presigned_url(
            operation, {"Bucket": self._bucket, "Key": self._name(key), **asked}
        )
        who, region = self._clients.credentials(), client.meta.region_name
        return presign.presign(
            url,
            presign.Credentials(who.access_key, who.secret_key, who.token or ""),
            "us-east-1" if region in (None, "aws-global") else region,
            made_s,
            expires_s,
            method=method,
            headers=headers,
        )

    # -- the bucket itself

    @property
    def location(self) -> str:
        """What all keys begin with in the bucket: nothing, or S3_PREFIX and a slash."""
        return self._location

    def rules(self) -> list[dict[str, Any]]:
        """The rules of its lifecycle configuration. Raises :class:`StorageUnavailable`, also where the server has none."""
        return self._rules("rules", "get_bucket_lifecycle_configuration", "Rules")

    def put_rules(self, rules: list[dict[str, Any]]) -> None:
        """Replace all of them."""
        self._call(
            "put_rules",
            self._clients.ask,
            "put_bucket_lifecycle_configuration",
            LifecycleConfiguration={"Rules": rules},
        )

    def cors(self) -> list[dict[str, Any]]:
        """The rules for pages of other origins. Raises as :meth:`rules`."""
        return self._rules("cors", "get_bucket_cors", "CORSRules")

    def put_cors(self, rules: list[dict[str, Any]]) -> None:
        """Replace all of them."""
        self._call("put_cors", self._clients.ask, "put_bucket_cors", CORSConfiguration={"CORSRules": rules})

    def _rules(self, what: str, operation: str, name: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = self._call(what, self._clients.ask, operation)[name]
        except NotStored:
            return []
        return found

    # -- inside

    def _name(self, key: str) -> str:
        return self._location + names.check(key)

    def _written(
        self, media_type: str, metadata: Mapping[str, str] | None, cache_control: str = ""
    ) -> dict[str, Any]:
        """What is written with each object."""
        beside = names.check_metadata(metadata)
        if key_id := self._sse.get("SSEKMSKeyId"):
            beside["encryption-key-id"] = key_id
        return {
            "ContentType": names.check_media_type(media_type),
            "Metadata": beside,
            **({"CacheControl": cache_control} if cache_control else {}),
            **self._sse,
        }

    def _checked(self, data: bytes | bytearray, sha256: str) -> dict[str, str]:
        """What makes the server refuse other bytes than ours. ``md5``: every server knows it, and AWS allows gaps in part
        numbers with it; ``sha256`` is kept beside the object, and allows none (ADR 0129)."""
        if self._checksum == "sha256":
            return {"ChecksumSHA256": sha256}
        return {"ContentMD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}

    def _call(
        self, what: str, client: Callable[[], Any], operation: str, key: str | None = None, **asked: Any
    ) -> Any:
        if key is not None:
            asked["Key"] = self._name(key)
        return self._guarded(what, lambda: getattr(client(), operation)(Bucket=self._bucket, **asked))

    def _guarded(self, what: str, act: Callable[[], Any]) -> Any:
        with self._guard.call(what):
            try:
                return act()
            except ERRORS as error:
                raise meaning(error, what) from error


class _Opened:
    """An object that is being read."""

    def __init__(self, body: Any, tag: str) -> None:
        self._body, self.tag = body, tag

    def read(self, size: int) -> bytes:
        data: bytes = self._body.read(size)
        return data

    def close(self) -> None:
        self._body.close()
