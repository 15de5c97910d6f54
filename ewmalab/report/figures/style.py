"""Colours, markers and dashes of figures: readable in print and by colour-blind people."""

from __future__ import annotations

# Okabe and Ito's colours, distinct with any kind of colour vision; markers and dashes are distinct in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DARK_COLOURS = ("#4FA8E0", "#FF8A4C", "#2BC79A", "#E6A8CC", "#F2B933", "#9AD5F5", "#F4F4F4")
"""The same hues on a dark page, each with a contrast of at least 6 to 1."""
MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "3px,1px", "1px,2px")
MEANINGS = {"ink": "#1A1A1A", "grey": "#777777", "faint": "#BBBBBB", "alarm": "#D55E00"}
DARK_MEANINGS = {"ink": "#F0F0F0", "grey": "#9A9A9A", "faint": "#5A5A5A", "alarm": "#FF8A4C"}
SCALE = ("#440154", "#31688E", "#35B779", "#FDE725")
"""Viridis, dark is small: order shows with any kind of colour vision and in grey."""


def turned(look: int) -> int:
    """Return the place of a look's marker and dash; from the eighth look on, colours recur with other marks."""
    return (look + look // len(COLOURS)) % len(MARKERS)
