"""The codecs a socket can speak, behind one shape."""

from typing import Any, Protocol

from whatsapp.wire.frames import Envelope, Frame, Item
from whatsapp.wire.json_codec import JsonCodec
from whatsapp.wire.protobuf_codec import ProtobufCodec


class Codec(Protocol):
    """Stateless and shared by all sockets.

    An encoded ``message`` or ``event`` without ``ref`` is also the encoded item of a ``sync_batch``, so an
    event is encoded once for live delivery, for every recipient and for batches.
    """

    @property
    def name(self) -> str:
        """``json`` or ``protobuf``, as in the subprotocol."""

    @property
    def id(self) -> str:
        """Its name, and the version if that is not the newest: :func:`whatsapp.wire.versions.codec_by_id`."""

    @property
    def text(self) -> bool:
        """True: goes in WebSocket text frames; False: in binary ones."""

    def decode(self, data: bytes) -> Any:
        """A frame of CLIENT_FRAMES. Raises FrameError and nothing else, whatever ``data`` is."""

    def decode_server(self, data: bytes) -> Any:
        """A frame of SERVER_FRAMES, for clients and tests. Raises FrameError."""

    def encode(self, frame: Frame) -> bytes:
        """The bytes of a frame of either direction (UTF-8 when ``text``); empty for a notice that this version is not told."""

    def encode_item(self, event: Item) -> bytes:
        """An event for :meth:`encode_batch`; also a complete live frame."""

    def encode_batch(
        self, conversation_id: str, encoded_events: list[bytes], through: int, head: int, remaining: int
    ) -> bytes:
        """A ``sync_batch`` of items that are encoded already."""

    def with_envelope(self, encoded_message: bytes, envelope: Envelope) -> bytes:
        """An encoded ``message`` that has no envelope, with this one: what differs per recipient, spliced
        behind."""


JSON: Codec = JsonCodec()
PROTOBUF: Codec = ProtobufCodec()
CODECS: dict[str, Codec] = {codec.name: codec for codec in (JSON, PROTOBUF)}
