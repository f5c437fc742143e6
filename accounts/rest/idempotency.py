"""``X-Idempotency-Key``: a POST that is repeated because its answer was lost gets the first answer again, for 24 hours.

One mechanism for every POST that has an effect to repeat. Claim, effect and answer are one transaction: a repeat that arrives
while the first one runs waits for its row and then finds the answer, and a crash leaves neither effect nor claim. Only
successes are kept: a refusal changed nothing, so its repeat is judged anew. ``/auth/refresh`` alone does without the table
(``services.sessions.refresh``): there each use of a token must be seen, or a stolen one would go unnoticed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.models import KeptAnswer
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

HEADER: Final = "X-Idempotency-Key"
MAX_LENGTH: Final = 128
#: Visible ASCII: what every proxy passes on unchanged.
PATTERN: Final = "^[!-~]{1,128}$"
KEPT_MS: Final = DAY_MS
#: Set to ``true`` on an answer that was kept from an earlier request.
REPLAYED: Final = "X-Idempotency-Replayed"
_VISIBLE: Final = re.compile(rf"[!-~]{{1,{MAX_LENGTH}}}")
_NONCE: Final = 12
#: How long a repeat waits for the first one. A waiting one holds a connection of the pool, so it is no long time.
WAIT_MS = 3_000

# Waits for a transaction that holds the same key. Takes over a row that is older than its 24 hours and not yet pruned.
_CLAIM: Final = """
INSERT INTO accounts_keptanswer AS kept (id, request, status, answer, created_at)
VALUES (%(id)s, %(request)s, 0, '', %(now)s)
ON CONFLICT (id) DO UPDATE SET request = excluded.request, status = 0, answer = '', created_at = excluded.created_at
WHERE kept.created_at <= %(expired)s
RETURNING 1
"""


def idempotency_key(request: Request) -> str:
    """The client's name for this request, "" when it gave none. Raises :class:`Refused` (``bad_request``) when it is none."""
    key: str | None = request.headers.get(HEADER)
    if key is None:
        return ""
    if not _VISIBLE.fullmatch(key):
        raise Refused(Code.BAD_REQUEST, f"{HEADER} has 1 to {MAX_LENGTH} visible ASCII characters.")
    return key


def once(request: Request, *, caller: str, body: Mapping[str, Any], run: Callable[[], Response]) -> Response:
    """The answer of ``run``, or the one that this caller's request with the same key and body got within 24 h.

    ``caller`` is who the key belongs to: a user id, or before there is one the phone number. ``body`` is the validated input.
    Raises :class:`Refused`: ``conflict`` (the key was used for another body), ``unavailable`` (the first one still runs after
    ``WAIT_MS``), and what ``run`` raises.
    """
    key = idempotency_key(request)
    if not key:
        return run()
    text = json.dumps(body, sort_keys=True, default=str)
    name = _digest("name", request.method or "", request.path, caller, key)
    same = _digest("body", text)
    # Who has a copy of the table and SECRET_KEY still cannot read an answer (it may hold tokens) without the request.
    seal = AESGCM(_digest("seal", caller, key, text))
    with transaction.atomic():
        if not _claim(name, same):
            return _kept(name, same, seal)
        try:
            response = run()
        except Refused as error:
            # What counts attempts and look-ups must commit; the claim must not.
            KeptAnswer.objects.filter(pk=name).delete()
            refusal = error
        else:
            nonce = secrets.token_bytes(_NONCE)
            answer = json.dumps(response.data, cls=JSONEncoder).encode()
            KeptAnswer.objects.filter(pk=name).update(
                status=response.status_code, answer=nonce + seal.encrypt(nonce, answer, name)
            )
            return response
    raise refusal


def _digest(purpose: str, *parts: str) -> bytes:
    text = json.dumps(["idempotency", purpose, *parts]).encode()
    return hmac.digest(settings.SECRET_KEY.encode(), text, hashlib.sha256)


def _claim(name: bytes, same: bytes) -> bool:
    now = now_ms()
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [str(WAIT_MS)])
        try:
            cursor.execute(_CLAIM, {"id": name, "request": same, "now": now, "expired": now - KEPT_MS})
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            raise Refused(
                Code.UNAVAILABLE, f"The first request with this {HEADER} still runs.", retry_after_ms=1_000
            ) from None
        claimed = cursor.fetchone() is not None
        cursor.execute("SET LOCAL lock_timeout TO DEFAULT")
    return claimed


def _kept(name: bytes, same: bytes, seal: AESGCM) -> Response:
    kept = KeptAnswer.objects.get(pk=name)
    if not hmac.compare_digest(bytes(kept.request), same):
        raise Refused(Code.CONFLICT, f"This {HEADER} was used for another body.")
    answer = bytes(kept.answer)
    data: Any = json.loads(seal.decrypt(answer[:_NONCE], answer[_NONCE:], name))
    return Response(data, status=kept.status, headers={REPLAYED: "true"})
