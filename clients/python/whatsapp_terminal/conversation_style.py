"""The parts of a conversation that have a look of their own, and the look."""

ROLES = (
    "own", "other", "time", "deleted", "link", "failed", "button", "day", "note", "unread", "picked",
    "label", "quote", "quote-own", "reaction", "reacted", "mine", "bar", "track", "hit",
    "mention", "mentioned",
    "tick-queued", "tick-sent", "tick-delivered", "tick-read", "tick-failed",
    *(f"name-{number}" for number in range(8)),
)  # fmt: skip

CSS = """
MessagesView {
    background: $background;
    scrollbar-size-vertical: 1;
    scrollbar-color: $scrollbar-thumb;
    scrollbar-background: $background;
    overflow-x: hidden;
    overflow-y: scroll;
    & > .messages--own { background: $bubble-own; color: $bubble-text; }
    & > .messages--other { background: $bubble-other; color: $bubble-text; }
    & > .messages--picked { text-style: bold; color: $accent; }
    & > .messages--time { color: $bubble-dim; }
    & > .messages--deleted { color: $bubble-dim; text-style: italic; }
    & > .messages--link { color: $link-text; text-style: underline; }
    & > .messages--failed { color: $error; text-style: bold; }
    & > .messages--button { background: $panel; color: $accent; text-style: bold; }
    & > .messages--day { background: $panel; color: $foreground; }
    & > .messages--note { color: $list-dim; }
    & > .messages--unread { color: $unread-text; text-style: bold; }
    & > .messages--tick-queued { color: $bubble-dim; }
    & > .messages--tick-sent { color: $bubble-dim; }
    & > .messages--tick-delivered { color: $bubble-dim; }
    & > .messages--tick-read { color: $tick-read; text-style: bold; }
    & > .messages--tick-failed { color: $error; text-style: bold; }
    & > .messages--label { color: $bubble-dim; text-style: italic; }
    & > .messages--quote { color: $bubble-dim; }
    & > .messages--quote-own { color: $tick-read; text-style: bold; }
    & > .messages--reaction { background: $panel; color: $foreground; }
    & > .messages--reacted { background: $list-selected; color: $accent; text-style: bold; }
    & > .messages--mine { text-style: bold; }
    & > .messages--bar { color: $tick-read; }
    & > .messages--track { color: $bubble-dim; text-style: dim; }
    & > .messages--hit { background: $list-selected; }
    & > .messages--mention { color: $name-3; text-style: bold; }
    & > .messages--mentioned { color: $warning; text-style: bold; }
    & > .messages--name-0 { color: $name-0; text-style: bold; }
    & > .messages--name-1 { color: $name-1; text-style: bold; }
    & > .messages--name-2 { color: $name-2; text-style: bold; }
    & > .messages--name-3 { color: $name-3; text-style: bold; }
    & > .messages--name-4 { color: $name-4; text-style: bold; }
    & > .messages--name-5 { color: $name-5; text-style: bold; }
    & > .messages--name-6 { color: $name-6; text-style: bold; }
    & > .messages--name-7 { color: $name-7; text-style: bold; }
}
"""
