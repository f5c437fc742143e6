"""Signs a request for an object, for a time of our own choice (AWS Signature Version 4, query parameters).

boto3 signs for the second in which it is asked, so each of its addresses is another one; ours are the same for some minutes,
and a cache may keep what they name. https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

#: Seconds that S3 allows at most.
LONGEST_S = 7 * 86_400


class Credentials(NamedTuple):
    key_id: str
    secret: str
    session: str = ""  # of a role: the address ends with it


def presign(
    url: str,
    who: Credentials,
    region: str,
    made_s: int,
    expires_s: int,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> str:
    """``url``, which names an object and what is to be done with it, signed as of ``made_s`` (since the epoch) for ``expires_s``
    seconds. ``headers``, names in lower case: what the request must have beside its host, with these values. Raises
    ``ValueError`` if that is too long."""
    if not 1 <= expires_s <= LONGEST_S:
        raise ValueError(f"an address lives for 1 to {LONGEST_S} seconds")
    parts = urlsplit(url)
    signed = sorted({"host": parts.netloc, **(headers or {})}.items())
    names = ";".join(name for name, _ in signed)
    time = datetime.fromtimestamp(made_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/{region}/s3/aws4_request"
    fields = [
        *parse_qsl(parts.query, keep_blank_values=True),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", f"{who.key_id}/{scope}"),
        ("X-Amz-Date", time),
        ("X-Amz-Expires", str(expires_s)),
        ("X-Amz-SignedHeaders", names),
    ]
    if who.session:
        fields.append(("X-Amz-Security-Token", who.session))
    quoted = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in fields)
    query = "&".join(f"{name}={value}" for name, value in quoted)
    lines = [f"{name}:{value}" for name, value in signed]
    request = "\n".join([method, parts.path, query, *lines, "", names, "UNSIGNED-PAYLOAD"])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", time, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{who.secret}".encode()
    for word in (time[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return urlunsplit(parts._replace(query=f"{query}&X-Amz-Signature={signature}"))
