"""What the load generator makes for each peer, by its name."""

from __future__ import annotations

from bench.peers.channels_chatter import ChannelsChatter
from bench.peers.channels_chatter import Idler as ChannelsIdler
from bench.peers.channels_member import ChannelsMember
from bench.peers.chatter import Chatter
from bench.peers.room import Attendant
from bench.peers.xmpp_chatter import XmppChatter
from bench.peers.xmpp_member import XmppMember
from bench.peers.xmpp_stream import Idler as XmppIdler

CHATTERS: dict[str, type[Chatter]] = {
    "ejabberd": XmppChatter,
    "channels": ChannelsChatter,
    "channels-pubsub": ChannelsChatter,
}
IDLERS: dict[str, type[XmppIdler] | type[ChannelsIdler]] = {
    "ejabberd": XmppIdler,
    "channels": ChannelsIdler,
    "channels-pubsub": ChannelsIdler,
}
MEMBERS: dict[str, type[Attendant]] = {
    "ejabberd": XmppMember,
    "channels": ChannelsMember,
    "channels-pubsub": ChannelsMember,
}
