"""What a reaction may be: one emoji, which is one character to a reader and several code points (Unicode TR 51)."""

_JOINER = "\u200d"


def is_emoji(text: str) -> bool:
    """Whether ``text`` is one emoji: a symbol (or a keycap, or a flag) with its variations, and others joined to it.

    Wider than the list of Unicode's newest version, so that emoji that come later pass, and narrow enough that it carries no
    text: letters, spaces, controls and several symbols side by side are refused.
    """
    if _is_flag(text):
        return True
    return all(_is_one(part) for part in text.split(_JOINER))


def _is_flag(text: str) -> bool:
    return len(text) == 2 and all("\U0001f1e6" <= letter <= "\U0001f1ff" for letter in text)


def _is_one(part: str) -> bool:
    """A base and what modifies it."""
    if not part:
        return False
    base, rest = part[0], part[1:]
    if base in "0123456789#*":
        return rest in ("\u20e3", "\ufe0f\u20e3")
    return _pictorial(base) and all(_modifies(letter) for letter in rest)


def _pictorial(base: str) -> bool:
    """In a block that has emoji; what is only reserved for pictures counts too."""
    code = ord(base)
    if "\U0001f1e6" <= base <= "\U0001f1ff" or _is_tone(base):
        return False
    return (
        0x1F000 <= code <= 0x1FAFF
        or 0x2190 <= code <= 0x21FF
        or 0x2300 <= code <= 0x27BF
        or 0x2900 <= code <= 0x297F
        or 0x2B00 <= code <= 0x2BFF
        or code in (0x00A9, 0x00AE, 0x203C, 0x2049, 0x2122, 0x2139, 0x3030, 0x303D, 0x3297, 0x3299)
    )


def _modifies(letter: str) -> bool:
    """A variation selector, a skin tone, or a tag (of the flags of regions)."""
    return (
        letter == "\ufe0f" or letter == "\ufe0e" or _is_tone(letter) or "\U000e0020" <= letter <= "\U000e007f"
    )


def _is_tone(letter: str) -> bool:
    return "\U0001f3fb" <= letter <= "\U0001f3ff"
