"""Fault points and protections that tests switch off. In anything but a test build both are constants.

A test arms a point by creating ``faults/kill-<name>`` in the data folder of its stack: the next process that reaches the
point removes the file and dies by SIGKILL. ``faults/off-<name>`` takes a protection away while it exists, so that the twin
of a fault test can show that the protection is what holds.

=============== ====================================================================================================
point           where
=============== ====================================================================================================
append-ack      gateway: the batch is durable, its ✓ is not written
ack-mark        gateway: ✓ was handed to the transport (a kill takes with it what the loop has not written yet)
before-mark     gateway: ✓ and live events of its own sessions are out, nothing is marked
mark-push       gateway: marked, not published
sync-batch      gateway: a batch of a backlog was handed to the transport
lane-take       worker: a lane is taken, nothing of it is looked at
lane-mark       worker: a pass of a lane knows whom to tell, nothing is marked
lane-push       worker: marked, publishes handed to the bus, nothing trimmed or reported
lane-trim       worker: published and trimmed, nothing reported
drain-batch     pool child of a worker: one batch of a long backlog is in the stream
pending-commit  Django code: committed, the store elsewhere has not been told
media-closed    worker: uploads of an account that ended are closed, nothing of them is deleted
media-drop      worker: an object of the storage is deleted, its row is not
push-send       worker: a notification is planned, its provider has not got it
push-accepted   worker: the provider has accepted a notification, nothing of it is written
move-copied     manage.py move_log: some of the log is copied, nobody has noted it
move-fenced     manage.py move_log: nobody writes any more
move-compared   manage.py move_log: all is copied and compared, processes still live
move-emptied    manage.py move_log: the hot node is empty, the log is not said to have moved
=============== ====================================================================================================

=============== ====================================================================================================
protection      without it
=============== ====================================================================================================
sweep           nobody marks what a dead writer left (R4)
epoch_progress  a watermark earned under one epoch counts under every other (R2, V4)
marker          a dirty set is taken for complete whatever its marker says (R5)
reopen          sessions are not opened again on a new epoch (R7)
check           sessions are never compared with the hot node and the accounts (R8)
sent            the gateway keeps no order: live events go out as they come (R9, V7)
receipt_rule    ``read`` may pass what the device acknowledged (C5)
clean           an ack removes a mark without comparing it (R11)
drain_wait      the gateway waits for the drain task for ever
dedupe          a message sent again is another message (C2)
seqnum          ``seqNum`` is not looked at (R19)
intervals       whoever is a member now is owed what was said before (R16, V11)
left            who has left is owed what comes (R16)
list_head       a list of members serves events it is older than (R17, V12)
list_age        a list of members, or of devices that take envelopes, serves for ever
reread          a send is refused by a list of members or devices that is some seconds old
envelopes       nobody looks whether a message has an envelope for each device
forget_devices  the bus says that somebody has other devices, or keys, and nobody listens
trim_last       a lane is trimmed before what it held is marked (R14)
lane_end        a lane is given back without a look at what has come (R15)
lost            a writer waits for a report for ever (R13)
aside           an entry that fails every pass stays at the head of its lane
orphans         nobody looks for lanes without a holder (R15)
push_report     nobody says that a device is absent
push_orphans    nobody looks for users that are due and whose task was lost
push_sweep      nobody looks for devices that the durable state says are to be told
push_claim      a user that was looked at is not due any more, whatever came meanwhile
push_after      what a device was told is written before its provider has got it
call_claims     nobody knows which calls a worker that died was sending: they wait for the end of its claims
ring_ends       a call that has ended is forgotten when another one comes, told of or not
hand_over       a gateway serves requests for files itself
relist          a new epoch does not learn which gateways have a group open
open_members    who has a chat open is not asked whether it is still a member
rights_again    who begins to follow is shown what the rights of a moment ago allow, whatever has changed meanwhile
typing_pace     all the typing in a group goes to who has it open
withheld        what a blocked user writes is fanned out to who has blocked
silent          receipts are told whatever block is in force
reads           what was read is told, whoever hides it
requests        receipts are told to strangers whom their user has not accepted
pending         nobody looks for changes that Django code has left for the store elsewhere
publish_late    what one node of a cluster did not take is not published again
look_again      who notes that a message carries a file does not look whether the file is still there
same_bytes      what is passed on as it is may be other bytes than those that were looked into
still_held      a request that has lost its upload may store the whole file
in_vain         parts that count for nothing may be stored again and again
unused_lock     a file that no message carries is declared gone without a lock of its row
broker          a worker ends when it closes what is left of a connection with a broker that is away
publish         not a protection but a loss: what goes to other processes over the bus is dropped
=============== ====================================================================================================
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from whatsapp.infra.build import TEST_BUILD, data_folder

_FOLDER = Path(data_folder()) / "faults"


def _point(name: str) -> None:
    try:
        (_FOLDER / f"kill-{name}").unlink()
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _off(name: str) -> bool:
    return (_FOLDER / f"off-{name}").exists()


def _no_point(name: str) -> None:
    return None


def _never_off(name: str) -> bool:
    return False


point = _point if TEST_BUILD else _no_point
"""``point(name)``: die here if the point is armed."""

off = _off if TEST_BUILD else _never_off
"""``off(name) -> bool``: is this protection switched off?"""
