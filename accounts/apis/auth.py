"""/auth: from a number to a session, and out of it."""

from __future__ import annotations

from typing import Final

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.phone import normalize
from accounts.rest import samples
from accounts.rest.address import source_address
from accounts.rest.fields import FlagField, LineField, PhoneField, TextField, WholeNumberField
from accounts.rest.idempotency import idempotency_key, once
from accounts.rest.schema import IDEMPOTENCY_KEY, LANGUAGE, operation
from accounts.rest.views import PublicView
from accounts.services import guards, registration, sessions
from accounts.services.devices import unlink_device
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

#: With a shorter ``X-Idempotency-Key`` the answer of ``/auth/verify``, which holds tokens, is not kept for a repeat.
KEPT_KEY_LENGTH: Final = 16


class RegisterInput(serializers.Serializer):
    phoneNumber = PhoneField()
    challengeAnswer = TextField(
        max_length=4096,
        required=False,
        allow_blank=True,
        help_text="to the challenge of a refusal: `seed:nonce` of a proof of work, the token of a CAPTCHA",
    )
    captcha = TextField(
        max_length=4096,
        required=False,
        allow_blank=True,
        help_text="the same, of a CAPTCHA that was shown unasked",
    )
    deviceId = TextField(
        max_length=36,
        required=False,
        allow_blank=True,
        help_text="of the installation: chosen by the client at its first start and kept",
    )


class RegisterOutput(serializers.Serializer):
    expiresAt = serializers.IntegerField(help_text="when the code expires, ms since the epoch")
    retryAfter = serializers.IntegerField(help_text="ms until another code should be asked for")


class VerifyInput(serializers.Serializer):
    phoneNumber = PhoneField()
    code = TextField(max_length=16)
    pin = TextField(
        max_length=64,
        required=False,
        allow_blank=True,
        help_text="of the account, if it has one and the device is new",
    )
    startAnew = FlagField(
        required=False,
        help_text="The PIN is not known: begin with a new account. Possible once the old one was not used for 7 days; it ends",
    )
    deviceName = LineField(max_length=100)
    registrationId = WholeNumberField(min_value=0, max_value=2**31 - 1, required=False, allow_null=True)
    refreshToken = TextField(
        max_length=256,
        required=False,
        allow_blank=True,
        allow_null=True,
        help_text="of a known device: it keeps its id",
    )
    deviceId = TextField(
        max_length=36, required=False, allow_blank=True, help_text="of the installation, as in `register`"
    )
    termsVersion = TextField(
        max_length=64,
        required=False,
        allow_blank=True,
        help_text="of the terms that the person agrees to; asked for by `forbidden` with details {termsRequired}",
    )


class RefreshInput(serializers.Serializer):
    refreshToken = TextField(max_length=256)


class TokensOutput(serializers.Serializer):
    token = serializers.CharField(
        help_text="access token, for `Authorization: Bearer` and the socket's `auth`"
    )
    refreshToken = serializers.CharField(help_text="good for one use")
    expiresAt = serializers.IntegerField(help_text="of the access token, ms since the epoch")
    userId = serializers.UUIDField()
    deviceId = serializers.UUIDField()


def tokens_body(tokens: sessions.Tokens) -> dict[str, object]:
    """See :class:`TokensOutput`."""
    return {
        "token": tokens.token,
        "refreshToken": tokens.refresh_token,
        "expiresAt": tokens.expires_at,
        "userId": tokens.user_id,
        "deviceId": tokens.device_id,
    }


def _tokens(tokens: sessions.Tokens) -> Response:
    return Response(tokens_body(tokens))


TOKENS_EXAMPLE: Final = {
    "token": samples.TOKEN,
    "refreshToken": samples.REFRESH_TOKEN,
    "expiresAt": samples.AT + 3_600_000,
    "userId": samples.ANN,
    "deviceId": samples.ANNS_PHONE,
}


class RegisterView(PublicView):
    @operation(
        "register",
        tag="auth",
        summary="Send a code",
        request=RegisterInput,
        sent={"example": {"phoneNumber": samples.ANNS_NUMBER}},
        parameters=[LANGUAGE],
        answer=RegisterOutput,
        status=202,
        example={"expiresAt": samples.AT + 600_000, "retryAfter": 1_200_000},
        refuses=[Code.RATE_LIMITED, Code.BANNED, Code.FORBIDDEN, Code.UNAVAILABLE, Code.WRONG_REGION],
        idempotent=True,
    )
    def post(self, request: Request) -> Response:
        """Send a code by SMS. The answer is the same whether the number is known or not.

        `forbidden` with `details` {challenge: {kind, …}}: solve it and send the request again with `challengeAnswer`. `kind`
        `proof_of_work` has `seed`, `bits` and `expiresAt`: find a `nonce` of 1 to 32 ASCII characters for which SHA-256 of
        `seed:nonce` begins with that many zero bits, and answer `seed:nonce`. `kind` `captcha` has `provider` and `siteKey`:
        show it, and answer with its token. Other `forbidden` numbers get no code."""
        data = RegisterInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data
        phone = normalize(given["phoneNumber"])
        address = source_address(request)
        # Not in the transaction of a key, which would hold the counter of a whole network until the message is handed over.
        guards.count_address(address, now_ms())

        def run() -> Response:
            sent = registration.send_code(
                phone=phone,
                address=address,
                device_id=given.get("deviceId"),
                accept_language=request.headers.get("Accept-Language", ""),
                challenge_answer=given.get("challengeAnswer") or given.get("captcha") or "",
            )
            return Response({"expiresAt": sent.expires_at, "retryAfter": sent.retry_after}, status=202)

        # An answer is good once: a request that is repeated with the next one is the same request.
        compared = {name: value for name, value in given.items() if name != "challengeAnswer"}
        return once(request, caller=phone, body=compared, run=run)


class VerifyView(PublicView):
    @operation(
        "verify",
        tag="auth",
        summary="Give the code back, get a session",
        request=VerifyInput,
        sent={
            "a new device": {
                "phoneNumber": samples.ANNS_NUMBER,
                "code": "123456",
                "deviceName": "Ann's phone",
                "registrationId": 4711,
            },
            "a known device": {
                "phoneNumber": samples.ANNS_NUMBER,
                "code": "123456",
                "deviceName": "Ann's phone",
                "refreshToken": samples.REFRESH_TOKEN,
            },
            "an account with a PIN": {
                "phoneNumber": samples.ANNS_NUMBER,
                "code": "123456",
                "pin": "271828",
                "deviceName": "Ann's new phone",
            },
        },
        answer=TokensOutput,
        example=TOKENS_EXAMPLE,
        refuses=[
            Code.UNAUTHENTICATED,
            Code.FORBIDDEN,
            Code.BANNED,
            Code.RATE_LIMITED,
            Code.LIMIT_EXCEEDED,
            Code.WRONG_REGION,
        ],
        idempotent=True,
    )
    def post(self, request: Request) -> Response:
        """Exchange the code for a session, on a new device unless `refreshToken` names a known one.

        A right code of an account with a PIN, on a new device and without `pin`, is answered by `forbidden` with `details`
        {pinRequired: true, until}; with a wrong one also pinWrong: true. The code stays good, so it is sent again with the PIN.
        From `until` (ms) on, `startAnew: true` begins with a new account, and the old one ends.

        Where terms are to be agreed to, and this account has not agreed to those of now, `termsVersion` has to name them;
        else it is `forbidden` with `details` {termsRequired: the version}. The code stays good then, too."""
        data = VerifyInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data
        phone = normalize(given["phoneNumber"])

        def run() -> Response:
            return _tokens(
                registration.verify(
                    phone=phone,
                    code=given["code"],
                    device_name=given["deviceName"],
                    registration_id=given.get("registrationId"),
                    refresh_token=given.get("refreshToken"),
                    address=source_address(request),
                    device_id=given.get("deviceId"),
                    pin=given.get("pin"),
                    start_anew=bool(given.get("startAnew")),
                    terms_version=given.get("termsVersion"),
                )
            )

        # A kept answer is given for code and key, and guesses at it are counted nowhere: the key must be out of their reach.
        if len(idempotency_key(request)) < KEPT_KEY_LENGTH:
            return run()
        # What is kept tells bodies apart by a digest that is quick to compute. A PIN must not be in it.
        compared = {name: value for name, value in given.items() if name != "pin"}
        return once(request, caller=phone, body=compared, run=run)


class RefreshView(PublicView):
    @operation(
        "refresh",
        tag="auth",
        summary="The next pair of tokens",
        parameters=[IDEMPOTENCY_KEY],
        request=RefreshInput,
        sent={"example": {"refreshToken": samples.REFRESH_TOKEN}},
        answer=TokensOutput,
        example=TOKENS_EXAMPLE,
        refuses=[Code.UNAUTHENTICATED, Code.BANNED],
    )
    def post(self, request: Request) -> Response:
        """The next pair of tokens. Using a refresh token twice ends the session; to repeat a request whose answer was lost,
        send it with the same `X-Idempotency-Key`."""
        data = RefreshInput(data=request.data)
        data.is_valid(raise_exception=True)
        return _tokens(
            sessions.refresh(
                refresh_token=data.validated_data["refreshToken"], idempotency_key=idempotency_key(request)
            )
        )


class LogoutView(APIView):
    region_free = True  # whoever should not be here may go

    @operation("logout", tag="auth", summary="End the session", status=204)
    def post(self, request: Request) -> Response:
        """Unlink the calling device."""
        unlink_device(account=request.user, device_id=request.auth.pk, reason="logout")
        return Response(status=204)
