"""What a pass of a lane has for a gateway, cut so that no item on the bus is long (:data:`whatsapp.infra.bus.PUBLISH_BYTES`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from delivery.store.values import Logged

PARCEL_BYTES = 512 * 1024  # of events; the names of those who are owed them come on top

Part = tuple[list[Logged], list[str]]  # events, and the users owed all of them


def weight(event: Logged) -> int:
    """Bytes of an event on the bus, about."""
    return 256 + len(event.content or b"") + len(event.extra or b"") + len(event.envelopes or b"")


def parcels(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """The same parts in the same order, in lists of at most :data:`PARCEL_BYTES` of events, or of one event."""
    parcel: list[Part] = []
    size = 0
    for events, users in parts:
        some: list[Logged] = []
        for event in events:
            more = weight(event)
            if size and size + more > PARCEL_BYTES:
                if some:
                    parcel.append((some, users))
                yield parcel
                parcel, some, size = [], [], 0
            some.append(event)
            size += more
        if some:
            parcel.append((some, users))
    if parcel:
        yield parcel
