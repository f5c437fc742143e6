"""Examples of frames, as JSON objects, for the documents that describe the interface: what Ann and Bob say to each other."""

from typing import Any, Final

ANN: Final = "019a0c40-7d1e-7c2b-9a41-5f2f8d7f1a01"
BOB: Final = "019a0c41-02b7-7f60-8d0c-2b7a3c9de402"
ANNS_PHONE: Final = "019a0c40-7d24-7b11-b0f5-94d1e0c55b03"
BOBS_PHONE: Final = "019a0c41-02c0-7a93-8c52-6e17f2b8d104"
CONVERSATION: Final = "019a0c42-51aa-8400-8f3e-7c6d5b4a3905"
MESSAGE: Final = "6f9619ff-8b86-4011-b42d-00cf4fc964ff"
CHANGE: Final = "7d4a7c1e-2f0b-4c55-9a36-e1f7c0b9a806"
CALL: Final = "2c5ea4c0-4067-41fe-8b0a-f2d1c3a7e907"
AT: Final = 1_764_000_000_123
TOKEN: Final = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIn0.eyJzdWIiOiIuLi4ifQ.c2lnbmF0dXJl"
EPOCH: Final = "6d2f0a9c:1b7e:0"

_HELLO: Final = "aGVsbG8gQm9i"
_FRANKING: Final = "Bj2ZRkDomEEJI076ha3kGf6JsfZO0t1hwAU/WFmSiKw="
_FRANKING_TAG: Final = "AQJrMTO0Q2VtO5PVxj2QcWWpYUUbRoMuFkTTjtc3bfSuJebs"
_CHANGED: Final = {
    "messageId": CHANGE,
    "conversationId": CONVERSATION,
    "targetId": MESSAGE,
    "timestamp": AT + 5_000,
}

MESSAGE_SHOWN: Final[dict[str, Any]] = {
    "type": "message",
    "messageId": MESSAGE,
    "conversationId": CONVERSATION,
    "senderId": ANN,
    "senderDeviceId": ANNS_PHONE,
    "seq": 7,
    "encryptedContent": _HELLO,
    "timestamp": AT,
    "serverTimestamp": AT + 21,
    "kind": "text",
}
_EVENT: Final[dict[str, Any]] = {
    "type": "event",
    "conversationId": CONVERSATION,
    "seq": 8,
    "kind": "reaction",
    "actorId": BOB,
    "targetId": MESSAGE,
    "data": {"emoji": "👍", "messageId": CHANGE},
    "serverTimestamp": AT + 6_000,
}

#: type → what a client sends, by name.
CLIENT: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "auth": {
        "first": {"type": "auth", "token": TOKEN},
        "resume": {"type": "auth", "token": TOKEN, "resume": {"epoch": EPOCH, "have": {CONVERSATION: 6}}},
    },
    "send_message": {
        "text": {
            "type": "send_message",
            "ref": "41",
            "messageId": MESSAGE,
            "conversationId": CONVERSATION,
            "encryptedContent": _HELLO,
            "timestamp": AT,
            "seqNum": 3,
        },
        "in a group, for who lacks the sender's key": {
            "type": "send_message",
            "messageId": MESSAGE,
            "conversationId": CONVERSATION,
            "encryptedContent": _HELLO,
            "franking": _FRANKING,
            "timestamp": AT,
            "envelopes": [
                {
                    "userId": BOB,
                    "deviceId": BOBS_PHONE,
                    "registrationId": 4711,
                    "type": "prekey",
                    "content": "MwgBEiEF",
                }
            ],
            "memberHash": "b8b6ee2d2fb46be91f91b1b7976eb3b4f47cd85f46eae93cc2553a2cbf0392a5",
        },
        "end to end": {
            "type": "send_message",
            "messageId": MESSAGE,
            "conversationId": CONVERSATION,
            "encryptedContent": _HELLO,
            "timestamp": AT,
            "envelopes": [
                {
                    "userId": BOB,
                    "deviceId": BOBS_PHONE,
                    "registrationId": 4711,
                    "type": "message",
                    "content": "MwohBQ==",
                }
            ],
        },
    },
    "ack": {"example": {"type": "ack", "positions": {CONVERSATION: 7}}},
    "status_update": {
        "read": {"type": "status_update", "conversationId": CONVERSATION, "status": "read", "upTo": 7},
        "read a message": {
            "type": "status_update",
            "conversationId": CONVERSATION,
            "status": "read",
            "messageId": MESSAGE,
        },
    },
    "sync": {
        "from what this device acknowledged": {"type": "sync"},
        "a hole": {"type": "sync", "ref": "42", "have": {CONVERSATION: 6}, "limit": 100},
    },
    "sync_offline": {"alias of sync": {"type": "sync_offline"}},
    "edit_message": {
        "example": {"type": "edit_message", **_CHANGED, "encryptedContent": "aGVsbG8="},
        "franked": {
            "type": "edit_message",
            **_CHANGED,
            "encryptedContent": "aGVsbG8=",
            "franking": _FRANKING,
        },
    },
    "delete_message": {"example": {"type": "delete_message", **_CHANGED, "scope": "everyone"}},
    "react": {
        "add": {"type": "react", **_CHANGED, "emoji": "👍"},
        "remove": {"type": "react", **_CHANGED, "emoji": ""},
    },
    "vote": {
        "choose": {"type": "vote", **_CHANGED, "encryptedContent": "eyJvcHRpb25zIjpbIlBpenphIl19"},
        "take back": {"type": "vote", **_CHANGED},
    },
    "presence": {"example": {"type": "presence", "status": "away"}},
    "presence_subscribe": {
        "users": {"type": "presence_subscribe", "userIds": [BOB], "ttl": 300},
        "an open chat": {"type": "presence_subscribe", "userIds": [], "conversationIds": [CONVERSATION]},
        "closed": {"type": "presence_subscribe", "userIds": [], "closedConversationIds": [CONVERSATION]},
    },
    "typing": {"example": {"type": "typing", "conversationId": CONVERSATION, "active": True, "kind": "text"}},
    "call": {
        "offer": {
            "type": "call",
            "callId": CALL,
            "kind": "offer",
            "toUserId": BOB,
            "payload": {"sdp": "v=0"},
        }
    },
}

#: type → what the server sends, by name.
SERVER: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "ready": {
        "example": {
            "type": "ready",
            "userId": ANN,
            "deviceId": ANNS_PHONE,
            "protocol": "3.2",
            "serverTime": AT,
            "epoch": EPOCH,
            "syncRequired": False,
            "pending": 1,
            "pingMs": 30_000,
            "limits": {"frame": 131_072, "content": 65_536, "perMinute": 100},
        }
    },
    "status_update": {
        "✓": {
            "type": "status_update",
            "ref": "41",
            "conversationId": CONVERSATION,
            "status": "sent",
            "messageId": MESSAGE,
            "seq": 7,
            "timestamp": AT + 21,
        },
        "✓✓": {
            "type": "status_update",
            "conversationId": CONVERSATION,
            "status": "delivered",
            "upTo": 7,
            "userId": BOB,
            "timestamp": AT + 60,
        },
        "read in a large group": {
            "type": "status_update",
            "conversationId": CONVERSATION,
            "status": "read",
            "upTo": 7,
            "counts": {"delivered": 120, "read": 87},
        },
    },
    "message": {
        "example": MESSAGE_SHOWN,
        "end to end": {
            **MESSAGE_SHOWN,
            "envelope": {
                "userId": BOB,
                "deviceId": BOBS_PHONE,
                "registrationId": 4711,
                "type": "message",
                "content": "MwohBQ==",
            },
            "franking": _FRANKING,
            "frankingTag": _FRANKING_TAG,
        },
    },
    "event": {
        "reaction": _EVENT,
        "an edit, franked": {
            "type": "event",
            "conversationId": CONVERSATION,
            "seq": 9,
            "kind": "edit",
            "actorId": BOB,
            "targetId": MESSAGE,
            "data": {},
            "serverTimestamp": AT + 6_000,
            "encryptedContent": _HELLO,
            "franking": _FRANKING,
            "frankingTag": _FRANKING_TAG,
            "actorDeviceId": BOBS_PHONE,
        },
        "a vote": {
            "type": "event",
            "conversationId": CONVERSATION,
            "seq": 9,
            "kind": "vote",
            "actorId": BOB,
            "targetId": MESSAGE,
            "data": {},
            "serverTimestamp": AT + 7_000,
            "encryptedContent": "eyJvcHRpb25zIjpbIlBpenphIl19",
        },
        "messages vanish after a day": {
            "type": "event",
            "conversationId": CONVERSATION,
            "seq": 10,
            "kind": "timer",
            "actorId": ANN,
            "data": {"seconds": 86_400},
            "serverTimestamp": AT + 8_000,
        },
    },
    "sync_batch": {
        "example": {
            "type": "sync_batch",
            "conversationId": CONVERSATION,
            "events": [MESSAGE_SHOWN, _EVENT],
            "through": 8,
            "head": 8,
            "remaining": 0,
        }
    },
    "sync_complete": {"example": {"type": "sync_complete", "epoch": EPOCH, "serverTime": AT}},
    "presence": {
        "online": {"type": "presence", "status": "online", "userId": BOB},
        "offline": {"type": "presence", "status": "offline", "userId": BOB, "lastSeen": AT},
        "a large group": {
            "type": "presence",
            "status": "online",
            "conversationId": CONVERSATION,
            "onlineCount": 17,
        },
    },
    "typing": {"example": {"type": "typing", "conversationId": CONVERSATION, "active": True, "userId": BOB}},
    "call": {
        "offer": {
            "type": "call",
            "callId": CALL,
            "kind": "offer",
            "fromUserId": ANN,
            "payload": {"sdp": "v=0"},
        }
    },
    "notice": {
        "example": {
            "type": "notice",
            "kind": "device_linked",
            "data": {"deviceId": BOBS_PHONE, "name": "laptop", "at": AT},
        },
        "a device was unlinked": {
            "type": "notice",
            "kind": "device_removed",
            "data": {"deviceId": BOBS_PHONE, "name": "laptop", "reason": "idle", "at": AT},
        },
        "a device will be unlinked, unless it is used": {
            "type": "notice",
            "kind": "device_idle",
            "data": {"deviceId": BOBS_PHONE, "name": "laptop", "unlinkAt": AT + 3 * 86_400_000},
        },
        "work on an upload goes on": {
            "type": "notice",
            "kind": "media",
            "data": {"mediaId": MESSAGE, "state": "processing", "percent": 40},
        },
        "an archive of one's data is ready": {
            "type": "notice",
            "kind": "export",
            "data": {"exportId": MESSAGE, "size": 48_213, "expiresAt": AT + 7 * 86_400_000},
        },
        "one may do less for a while": {
            "type": "notice",
            "kind": "limited",
            "data": {"kind": "limit", "until": AT + 86_400_000, "appealUrl": "https://example.org/appeals/t"},
        },
        "few one-time keys are left": {
            "type": "notice",
            "kind": "prekeys_low",
            "data": {"preKeys": 19, "pqPreKeys": 64},
        },
        "somebody has another identity key": {
            "type": "notice",
            "kind": "identity_changed",
            "data": {"userId": BOB, "at": AT},
        },
        "somebody asks to join a group": {
            "type": "notice",
            "kind": "join_request",
            "data": {"groupId": CONVERSATION, "userId": BOB},
        },
        "an admin has decided": {
            "type": "notice",
            "kind": "join_answer",
            "data": {"groupId": CONVERSATION, "accepted": True},
        },
        "a contact has another number": {
            "type": "notice",
            "kind": "number_changed",
            "data": {"userId": BOB, "phoneNumber": "+15550003"},
        },
        "somebody had the code of one's number and a wrong PIN": {
            "type": "notice",
            "kind": "pin",
            "data": {"event": "failed", "at": AT},
        },
        "a name, an about or a photo is another one": {
            "type": "notice",
            "kind": "profile_changed",
            "data": {"userId": BOB},
        },
    },
    "reconnect": {"example": {"type": "reconnect", "afterMs": 1_800, "reason": "deploy"}},
    "error": {
        "out of order": {
            "type": "error",
            "ref": "41",
            "code": "out_of_order",
            "message": "seqNum 3 is expected",
            "retryable": True,
            "messageId": MESSAGE,
            "details": {"expected": 3},
        },
        "other devices": {
            "type": "error",
            "code": "device_mismatch",
            "message": "the envelopes are not those of all devices",
            "retryable": True,
            "messageId": MESSAGE,
            "details": {
                "missing": [{"userId": BOB, "deviceId": BOBS_PHONE}],
                "extra": [],
                "stale": [],
            },
        },
        "too fast": {
            "type": "error",
            "code": "rate_limited",
            "message": "too many messages",
            "retryable": True,
            "retryAfterMs": 600,
        },
    },
}
