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
        "field": "#22313a",
        "scrollbar-thumb": "#2c3a42",
        "footer-key-foreground": "#3ecf8e",
        "name-0": "#6fd3a0",
        "name-1": "#e5b567",
        "name-2": "#f08f95",
        "name-3": "#7cc4ff",
        "name-4": "#c9a2f2",
        "name-5": "#5fd3d3",
        "name-6": "#f2a3cf",
        "name-7": "#c3cf6a",
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
        "field": "#e9e6df",
        "scrollbar-thumb": "#c9c6bf",
        "footer-key-foreground": "#0f7a55",
        "name-0": "#0f7a55",
        "name-1": "#8a5a00",
        "name-2": "#b3202d",
        "name-3": "#0b61a4",
        "name-4": "#7036a8",
        "name-5": "#0b6e75",
        "name-6": "#a61e78",
        "name-7": "#5c6400",
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
        "field": "#333333",
        "scrollbar-thumb": "#888888",
        "footer-key-foreground": "#ffff00",
        "footer-background": "#000000",
        "border": "#ffffff",
        "name-0": "#00ff66",
        "name-1": "#ffff00",
        "name-2": "#ff8f8f",
        "name-3": "#00ffff",
        "name-4": "#d9b3ff",
        "name-5": "#7fd4ff",
        "name-6": "#ff9be0",
        "name-7": "#ffb870",
    },
)
OWN = (DARK, LIGHT, CONTRAST)

#: Of people who write in a group.
NAMES = tuple(f"name-{number}" for number in range(8))
ANSI_NAMES_DARK = [
    f"ansi_bright_{colour}"
    for colour in ("green", "yellow", "red", "cyan", "magenta", "white", "green", "yellow")
]
ANSI_NAMES_LIGHT = [
    f"ansi_{colour}" for colour in ("blue", "red", "magenta", "black", "blue", "red", "magenta", "black")
]
READABLE = 4.5  # contrast of text to its ground, WCAG 2.2, 1.4.3

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
    "field": "ansi_bright_black",
    "scrollbar-thumb": "ansi_bright_black",
    **dict(zip(NAMES, ANSI_NAMES_DARK, strict=True)),
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
    "field": "ansi_white",
    "scrollbar-thumb": "ansi_bright_black",
    **dict(zip(NAMES, ANSI_NAMES_LIGHT, strict=True)),
}


def derived(theme: Theme) -> dict[str, str]:
    """The variables of :data:`OWN` for a theme that does not define them."""
    if theme.ansi:
        return dict(ANSI_DARK if theme.dark else ANSI_LIGHT)
    colours = theme.to_color_system().generate()
    ground, surface = Color.parse(colours["background"]), Color.parse(colours["surface"])
    front = Color.parse("#ffffff" if theme.dark else "#000000").blend(ground, 0.1)
    primary, accent = Color.parse(colours["primary"]), Color.parse(colours["accent"])
    other = surface.blend(front, 0.1)
    names = (DARK if theme.dark else LIGHT).variables
    return {
        **{name: readable(Color.parse(names[name]), other).hex6 for name in NAMES},
        "bubble-own": ground.blend(primary, 0.28 if theme.dark else 0.25).hex6,
        "bubble-other": other.hex6,
        "bubble-text": front.hex6,
        "bubble-dim": front.blend(ground, 0.25).hex6,
        "tick-read": accent.hex6,
        "link-text": accent.hex6,
        "unread-text": accent.hex6,
        "list-selected": surface.blend(primary, 0.3).hex6,
        "list-dim": front.blend(ground, 0.4).hex6,
        "field": surface.blend(front, 0.12).hex6,
        "scrollbar-thumb": front.blend(ground, 0.75).hex6,
    }


def readable(colour: Color, ground: Color) -> Color:
    """The colour, or the nearest one on the way to black or white that can be read on the ground."""
    end = max((Color.parse("#ffffff"), Color.parse("#000000")), key=lambda far: contrast(far, ground))
    for step in range(11):
        mixed = colour.blend(end, step / 10)
        if contrast(mixed, ground) >= READABLE:
            return mixed
    return end


def contrast(one: Color, other: Color) -> float:
    """From 1 to 21: WCAG 2.2, relative luminance."""
    high, low = sorted((_light(one), _light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _light(colour: Color) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
