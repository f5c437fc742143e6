"""Three themes of our own, and the colours of bubbles for every other theme of Textual."""

from __future__ import annotations

from textual.color import Color
from textual.theme import Theme

DEFAULT = "chat-dark"

DARK = Theme(
    name="chat-dark",
    primary="#21a06f",
    secondary="#3d7fb0",
    accent="#3ecf8e",
    foreground="#e4e9ec",
    background="#0d1418",
    surface="#131c22",
    panel="#1b262d",
    success="#3ecf8e",
    warning="#e5b567",
    error="#e86a72",
    dark=True,
    variables={
        "bubble-own": "#0f4d3b",
        "bubble-other": "#212d35",
        "bubble-text": "#eef2f3",
        "bubble-dim": "#93a5ad",
        "tick-read": "#5ac8fa",
        "link-text": "#6cc5ff",
        "unread-text": "#3ecf8e",
        "list-selected": "#22323b",
        "list-dim": "#8b9ba3",
        "scrollbar-thumb": "#2c3a42",
        "footer-key-foreground": "#3ecf8e",
    },
)
LIGHT = Theme(
    name="chat-light",
    primary="#0f7a55",
    secondary="#1f6f9f",
    accent="#0f7a55",
    foreground="#17212b",
    background="#f3f1ec",
    surface="#ffffff",
    panel="#e9e6df",
    success="#0f7a55",
    warning="#9a6200",
    error="#b3202d",
    dark=False,
    variables={
        "bubble-own": "#cdeed6",
        "bubble-other": "#ffffff",
        "bubble-text": "#111b21",
        "bubble-dim": "#57656d",
        "tick-read": "#0277bd",
        "link-text": "#0b61a4",
        "unread-text": "#0f7a55",
        "list-selected": "#d9e7df",
        "list-dim": "#5d6b73",
        "scrollbar-thumb": "#c9c6bf",
        "footer-key-foreground": "#0f7a55",
    },
)
CONTRAST = Theme(
    name="chat-contrast",
    primary="#ffff00",
    secondary="#00ffff",
    accent="#ffff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    success="#00ff66",
    warning="#ffff00",
    error="#ff6b6b",
    dark=True,
    luminosity_spread=0.3,
    text_alpha=1.0,
    variables={
        "bubble-own": "#003b8f",
        "bubble-other": "#333333",
        "bubble-text": "#ffffff",
        "bubble-dim": "#ffffff",
        "tick-read": "#ffff00",
        "link-text": "#00ffff",
        "unread-text": "#ffff00",
        "list-selected": "#003b8f",
        "list-dim": "#ffffff",
        "scrollbar-thumb": "#888888",
        "footer-key-foreground": "#ffff00",
        "footer-background": "#000000",
        "border": "#ffffff",
    },
)
OWN = (DARK, LIGHT, CONTRAST)

#: For Textual's themes of the terminal's own sixteen colours: those cannot be mixed.
ANSI_DARK = {
    "bubble-own": "ansi_blue",
    "bubble-other": "ansi_black",
    "bubble-text": "ansi_bright_white",
    "bubble-dim": "ansi_white",
    "tick-read": "ansi_bright_cyan",
    "link-text": "ansi_bright_cyan",
    "unread-text": "ansi_bright_green",
    "list-selected": "ansi_blue",
    "list-dim": "ansi_white",
    "scrollbar-thumb": "ansi_bright_black",
}
ANSI_LIGHT = {
    "bubble-own": "ansi_bright_cyan",
    "bubble-other": "ansi_white",
    "bubble-text": "ansi_black",
    "bubble-dim": "ansi_black",
    "tick-read": "ansi_blue",
    "link-text": "ansi_blue",
    "unread-text": "ansi_blue",
    "list-selected": "ansi_bright_cyan",
    "list-dim": "ansi_black",
    "scrollbar-thumb": "ansi_bright_black",
}


def derived(theme: Theme) -> dict[str, str]:
    """The variables of :data:`OWN` for a theme that does not define them."""
    if theme.ansi:
        return dict(ANSI_DARK if theme.dark else ANSI_LIGHT)
    colours = theme.to_color_system().generate()
    ground, surface = Color.parse(colours["background"]), Color.parse(colours["surface"])
    front = Color.parse("#ffffff" if theme.dark else "#000000").blend(ground, 0.1)
    primary, accent = Color.parse(colours["primary"]), Color.parse(colours["accent"])
    return {
        "bubble-own": ground.blend(primary, 0.28 if theme.dark else 0.25).hex6,
        "bubble-other": surface.blend(front, 0.1).hex6,
        "bubble-text": front.hex6,
        "bubble-dim": front.blend(ground, 0.25).hex6,
        "tick-read": accent.hex6,
        "link-text": accent.hex6,
        "unread-text": accent.hex6,
        "list-selected": surface.blend(primary, 0.3).hex6,
        "list-dim": front.blend(ground, 0.4).hex6,
        "scrollbar-thumb": front.blend(ground, 0.75).hex6,
    }
