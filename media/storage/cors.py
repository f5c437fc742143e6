"""Which pages may use a bucket from a browser: those of web clients, which put parts and fetch objects there
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html). The local folder's addresses are under the rules of
the API (``whatsapp/settings/security.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Ours among the rules of a bucket.
RULE = "whatsapp-web"
#: Seconds; the longest that Chromium keeps.
_KEPT_S = 7_200


def rules(origins: Sequence[str]) -> list[dict[str, Any]]:
    """For ``PutBucketCors``: a rule for pages of these origins (``*``: any), none without origins."""
    if not origins:
        return []
    return [
        {
            "ID": RULE,
            "AllowedOrigins": list(origins),
            "AllowedMethods": ["GET", "HEAD", "PUT"],
            # A body that is a Blob with a type; a part of an object.
            "AllowedHeaders": ["content-type", "if-range", "range"],
            # Without it a page cannot name the part that it put.
            "ExposeHeaders": ["ETag", "Content-Range"],
            "MaxAgeSeconds": _KEPT_S,
        }
    ]
