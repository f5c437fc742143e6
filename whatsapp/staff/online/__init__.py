"""Sessions online: a page that updates itself. Gateways answer only while somebody watches.

browser ⇄ ``consumer`` (in one gateway) → bus, topic ``staff.ask`` → ``reporter`` of every gateway → channel layer ``admin`` →
``consumer``. Nobody watching: no subscription, no query, no timer; what remains is a gateway's line about itself every 5 s.
"""
