"""/keys: public keys for end-to-end encryption, as libsignal has them."""

from __future__ import annotations

import base64
import uuid
from typing import Any, Final

from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import tasks
from accounts.curve import KEY_BYTES, KYBER_BYTES, SIGNATURE_BYTES
from accounts.rest import paging, samples
from accounts.rest.fields import FixedBytesField, WholeNumberField
from accounts.rest.idempotency import once
from accounts.rest.schema import operation, parameter
from accounts.services import bundles, prekeys
from accounts.services.bundles import Bundle
from accounts.services.prekeys import PublicKey, Upload
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: Signal's ids are unsigned and have 32 bits.
MAX_KEY_ID: Final = 2**32 - 1


class _KeyId(WholeNumberField):
    def __init__(self) -> None:
        super().__init__(min_value=0, max_value=MAX_KEY_ID)


class PrekeyInput(serializers.Serializer):
    keyId = _KeyId()
    publicKey = FixedBytesField(KEY_BYTES, help_text="0x05 and the 32 bytes of an X25519 key")
    signature = FixedBytesField(SIGNATURE_BYTES, required=False, help_text="checked if it is there")


class SignedPrekeyInput(serializers.Serializer):
    keyId = _KeyId()
    publicKey = FixedBytesField(KEY_BYTES, help_text="0x05 and the 32 bytes of an X25519 key")
    signature = FixedBytesField(
        SIGNATURE_BYTES, help_text="XEdDSA by the identity key over the whole publicKey"
    )


class PostQuantumInput(serializers.Serializer):
    keyId = _KeyId()
    publicKey = FixedBytesField(KYBER_BYTES, help_text="0x08 and the 1568 bytes of a Kyber1024 key")
    signature = FixedBytesField(
        SIGNATURE_BYTES, help_text="XEdDSA by the identity key over the whole publicKey"
    )


class KeysInput(serializers.Serializer):
    identityKey = FixedBytesField(KEY_BYTES, help_text="the account's; all its devices have the same")
    signedPreKey = SignedPrekeyInput()
    preKeys = PrekeyInput(many=True, max_length=LIMITS.prekeys_per_upload)
    pqPreKeys = PostQuantumInput(many=True, required=False, max_length=LIMITS.prekeys_per_upload)
    lastResort = PostQuantumInput(
        required=False, help_text="given when no post-quantum one-time key is left, again and again"
    )
    registrationId = WholeNumberField(
        min_value=0,
        max_value=2**31 - 1,
        required=False,
        help_text="needed unless `/auth/verify` was given one; another one than before drops the device's earlier keys",
    )


class PublicKeyOutput(serializers.Serializer):
    keyId = serializers.IntegerField()
    publicKey = serializers.CharField()
    signature = serializers.CharField(required=False)


class DeviceKeysOutput(serializers.Serializer):
    deviceId = serializers.UUIDField()
    registrationId = serializers.IntegerField()
    identityKey = serializers.CharField()
    signedPreKey = PublicKeyOutput()
    preKey = PublicKeyOutput(required=False, help_text="one-time; absent when none is left")
    pqPreKey = PublicKeyOutput(required=False, help_text="one-time, or the last resort")


class UserKeysOutput(serializers.Serializer):
    devices = DeviceKeysOutput(many=True)


class CountOutput(serializers.Serializer):
    preKeys = serializers.IntegerField()
    pqPreKeys = serializers.IntegerField()


def _given(data: dict[str, Any]) -> PublicKey:
    return PublicKey(data["keyId"], data["publicKey"], data.get("signature"))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _key(key: PublicKey) -> dict[str, Any]:
    shown: dict[str, Any] = {"keyId": key.key_id, "publicKey": _text(key.public_key)}
    if key.signature is not None:
        shown["signature"] = _text(key.signature)
    return shown


def _bundle(bundle: Bundle) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "deviceId": bundle.device_id,
        "registrationId": bundle.registration_id,
        "identityKey": _text(bundle.identity_key),
        "signedPreKey": _key(bundle.signed),
    }
    if bundle.classic is not None:
        shown["preKey"] = _key(bundle.classic)
    if bundle.post_quantum is not None:
        shown["pqPreKey"] = _key(bundle.post_quantum)
    return shown


class KeysView(APIView):
    @operation(
        "put_keys",
        tag="keys",
        summary="Leave keys for others",
        request=KeysInput,
        sent={"example": samples.KEYS},
        status=204,
        refuses=[Code.RATE_LIMITED, Code.LIMIT_EXCEEDED],
        idempotent=True,
    )
    def post(self, request: Request) -> Response:
        """The calling device's keys. `signedPreKey` and `lastResort` take the place of earlier ones, one-time keys are added to
        those that are left. The same keys again change nothing, used or not; an id that names another key is a `conflict`.

        The identity key is the account's: the first device sets it, and only the primary may change it. Then the keys of the
        other devices are dropped, and everybody who knows the user gets `notice identity_changed`."""
        data = KeysInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data
        keys = Upload(
            identity_key=given["identityKey"],
            signed=_given(given["signedPreKey"]),
            classic=[_given(one) for one in given["preKeys"]],
            post_quantum=[_given(one) for one in given.get("pqPreKeys", ())],
            last=_given(given["lastResort"]) if "lastResort" in given else None,
            registration_id=given.get("registrationId"),
        )

        def run() -> Response:
            if prekeys.upload(account=request.user, device=request.auth, keys=keys):
                transaction.on_commit(tasks.tell_identities_soon)
            return Response(status=204)

        return once(request, caller=str(request.auth.pk), body=given, run=run)


class CountView(APIView):
    @operation(
        "keys_count",
        tag="keys",
        summary="One-time keys that are left",
        answer=CountOutput,
        example={"preKeys": 73, "pqPreKeys": 58},
    )
    def get(self, request: Request) -> Response:
        """Of the calling device. It should bring more when few are left; `notice prekeys_low` says so too."""
        left = prekeys.count(device=request.auth)
        return Response({"preKeys": left.classic, "pqPreKeys": left.post_quantum})


class UserKeysView(APIView):
    @operation(
        "user_keys",
        tag="keys",
        summary="Keys to begin an encrypted session with a user's devices",
        parameters=[
            parameter(
                "deviceId",
                {"type": "string", "format": "uuid"},
                "Only of this device; `not_found` when it has none.",
                samples.BOBS_PHONE,
            )
        ],
        answer=UserKeysOutput,
        example={"devices": [samples.BUNDLE]},
        refuses=[Code.RATE_LIMITED],
    )
    def get(self, request: Request, user_id: uuid.UUID) -> Response:
        """A bundle for each of the user's devices that has keys; not for the calling device. Each call takes a one-time key of
        each device, which nobody else gets: ask once, and keep what you got.

        Who asks for one user again and again, or for one whom very many ask for, gets bundles without one-time keys, with which a
        session can begin as well."""
        found = bundles.fetch(
            account=request.user,
            device=request.auth,
            user_id=user_id,
            device_id=paging.id_parameter(request, "deviceId"),
        )
        return Response({"devices": [_bundle(one) for one in found]})
