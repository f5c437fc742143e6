"""What the load generator makes for each peer, by its name."""

from __future__ import annotations

from bench.peers.channels_chatter import ChannelsChatter
from bench.peers.channels_chatter import Idler as ChannelsIdler
from bench.peers.chatter import Chatter
from bench.peers.xmpp_chatter import XmppChatter
from bench.peers.xmpp_stream import Idler as XmppIdler

CHATTERS: dict[str, type[Chatter]] = {"ejabberd": XmppChatter, "channels": ChannelsChatter}
IDLERS: dict[str, type[XmppIdler] | type[ChannelsIdler]] = {"ejabberd": XmppIdler, "channels": ChannelsIdler}
