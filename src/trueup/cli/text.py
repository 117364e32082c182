"""Text that trueup did not write, made fit for a terminal."""

from __future__ import annotations

# Data and models are not to be trusted: control characters could move the cursor, bidirectional ones reorder words.
_HARMLESS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_HARMLESS |= {
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}


def harmless(text: str) -> str:
    """`text` with every character that could steer a terminal replaced by a visible one."""
    return text.translate(_HARMLESS)
