"""One sender for each provider behind one interface (:mod:`notifications.senders.interface`)."""
