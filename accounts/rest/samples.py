"""Values of the examples in the OpenAPI document: two people, Ann and Bob, and what they say to each other."""

from __future__ import annotations

from typing import Final

ANN: Final = "019a0c40-7d1e-7c2b-9a41-5f2f8d7f1a01"
BOB: Final = "019a0c41-02b7-7f60-8d0c-2b7a3c9de402"
ANNS_PHONE: Final = "019a0c40-7d24-7b11-b0f5-94d1e0c55b03"
BOBS_PHONE: Final = "019a0c41-02c0-7a93-8c52-6e17f2b8d104"
CONVERSATION: Final = "019a0c42-51aa-8400-8f3e-7c6d5b4a3905"
MESSAGE: Final = "6f9619ff-8b86-4011-b42d-00cf4fc964ff"
ANNS_NUMBER: Final = "+15550001"
BOBS_NUMBER: Final = "+15550002"
AT: Final = 1_764_000_000_123
TOKEN: Final = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIn0.eyJzdWIiOiIuLi4ifQ.c2lnbmF0dXJl"
REFRESH_TOKEN: Final = "pXr1vJq0Tn8bYk3uQd5sLw7eZcGfHiJkMlNoPqRsTuV"

MESSAGE_SHOWN: Final = {
    "type": "message",
    "messageId": MESSAGE,
    "conversationId": CONVERSATION,
    "senderId": BOB,
    "senderDeviceId": BOBS_PHONE,
    "seq": 7,
    "encryptedContent": "aGVsbG8gQW5u",
    "timestamp": AT,
    "serverTimestamp": AT + 21,
    "kind": "text",
}
