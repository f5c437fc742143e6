"""A file on its way, as a bubble. Pure layout, without colours."""

from __future__ import annotations

from . import bubble, file_rows, text
from .attachment import File
from .cells import Block, Row, Span, View, aligned, row_width
from .facts import Shape
from .sends import Send

_MOST_ROWS = 3  # of why a file was not sent


def block(send: Send, view: View) -> Block:
    wish = send.wish
    made = Block(f"f {wish.id}", own=True, message=text.one_line(wish.name))
    file = File(wish.kind, name=wish.name, size=send.total)
    most = bubble.room(view.width)
    head: list[Row] = file_rows.rows(file, Shape(), made.key, most)
    head = [[Span(span.text, span.role) for span in row] for row in head]  # nothing to be done with it yet
    if not wish.failed:
        head.append(file_rows.progress(send.done, send.total, most))
        head.append([Span(text.cut(_doing(send), most), "time")])
    parts = bubble.Parts(text.clean(wish.caption), tick="failed" if wish.failed else "queued", head=head)
    bubble.fill(made, parts, view)
    buttons: Row = [Span(" Cancel ", "button", action=f"cancel {made.key}")]
    label = ""
    if wish.failed:
        again = Span(" Retry ", "button", action=f"again {made.key}")
        buttons = [again, Span(" "), Span(" Discard ", "button", action=f"cancel {made.key}")]
        label = f"Not sent: {text.one_line(wish.failed)}"
        if text.width(label) > view.width - 3 - row_width(buttons):  # then above the buttons, whole
            for begin, end in text.wrap(label, view.width - 2, limit=_MOST_ROWS):
                made.rows.append(aligned([Span(label[begin:end].rstrip(), "failed")], view.width, right=True))
            label = ""
    row = [Span(label, "failed"), Span(" "), *buttons] if label else buttons
    made.rows.append(aligned(row, view.width, right=True))
    return made


def _doing(send: Send) -> str:
    if send.percent >= 0:
        return f"The server works on it: {send.percent} %"
    if send.total and send.done >= send.total:
        return "Sent; the server looks at it" if not send.wish.encrypted else "Sent"
    encrypted = "encrypted" if send.wish.encrypted else "the server looks into it"
    return f"On its way, {encrypted}" if send.done else f"Getting ready, {encrypted}"
