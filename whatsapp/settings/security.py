"""What browsers are told and asked: headers, content policies, cookies of staff, who may call from other origins.

``docs/security.md`` says what each of these is for and which test holds it.
"""

from __future__ import annotations

import os
from typing import Any

from csp.constants import NONCE, NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

from whatsapp.settings import env

_PRODUCTION = os.environ.get("WHATSAPP_ENV") == "production"

# -- who may call from a browser ----------------------------------------------------------------------------------------------
#: Origins (``https://chat.example``) of web clients that may open sockets and call the API; ``*`` any. Clients that are no
#: browsers send none. Only a development system trusts every origin when nothing is set.
WEB_ORIGINS = env.origins("WEB_ORIGINS", "" if _PRODUCTION else "*")
CORS_ALLOW_ALL_ORIGINS = "*" in WEB_ORIGINS
CORS_ALLOWED_ORIGINS = [origin for origin in WEB_ORIGINS if origin != "*"]
#: Never: the API knows no cookies, and the admin is not for other origins.
CORS_ALLOW_CREDENTIALS = False
CORS_URLS_REGEX = r"^/(?!admin(?:/|$)|static/)"
WHITENOISE_ALLOW_ALL_ORIGINS = False
CORS_ALLOW_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CORS_ALLOW_HEADERS = (
    "accept",
    "accept-language",
    "authorization",
    "content-type",
    # tus 1.0 (media/apis/tus.py), and what its clients name a request by
    "tus-resumable",
    "upload-checksum",
    "upload-defer-length",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "x-http-method-override",
    "x-idempotency-key",
    "x-link-secret",
    "x-request-id",
    "x-whatsapp-protocol-version",
)
CORS_EXPOSE_HEADERS = (
    "Retry-After",
    "X-WhatsApp-Protocol-Version",
    "WWW-Authenticate",
    "X-Idempotency-Replayed",
    "X-Request-ID",
    "ETag",  # names a part that was put (media/apis/parts.py)
    "Location",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Defer-Length",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
)
CORS_PREFLIGHT_MAX_AGE = 7_200  # s; the longest that Chromium keeps

# -- headers ------------------------------------------------------------------------------------------------------------------
SECURE_CONTENT_TYPE_NOSNIFF = True
# "no-referrer" would make a browser send "Origin: null" with the admin's forms, which CSRF protection refuses.
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

#: The API holds no page: whatever a browser is made to show from it runs nothing, loads nothing and is framed nowhere.
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "base-uri": [NONE],
        "form-action": [NONE],
        "frame-ancestors": [NONE],
    }
}
_PAGE: dict[str, Any] = {
    "default-src": [NONE],
    "script-src": [SELF, NONCE],
    # Both the admin and the API's pages carry style attributes.
    "style-src": [SELF, UNSAFE_INLINE],
    "img-src": [SELF, "data:"],
    "font-src": [SELF, "data:"],
    "connect-src": [SELF],  # sockets of the same origin too (CSP 3)
    "form-action": [SELF],
    "base-uri": [NONE],
    "frame-ancestors": [NONE],
    "object-src": [NONE],
}
#: Policies of the HTML pages below a path; the longest prefix counts. No host of somebody else, no inline script without a nonce.
CONTENT_POLICIES: dict[str, dict[str, Any]] = {
    # Alpine.js, with which the admin's theme is made, evaluates the expressions in its attributes.
    "/admin/": {**_PAGE, "script-src": [SELF, NONCE, UNSAFE_EVAL]},
    "/appeals/": {
        "default-src": [NONE],
        "style-src": [SELF],
        "img-src": ["data:"],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
    "/schema/": {**_PAGE, "worker-src": [SELF, "blob:"]},
}

# -- cookies of staff ---------------------------------------------------------------------------------------------------------
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3_600  # s, from the last sign-in; a working day
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
