"""Pictures for buttons: the first letters of a provider on its colour, so nobody's trade mark is copied."""

from __future__ import annotations

from html import escape


def logo(letters: str, colour: str) -> str:
    """A small SVG; `colour` is dark enough for white letters."""
    size = 14 if len(letters) == 1 else 11
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24">'
        f'<rect width="24" height="24" rx="5" fill="{colour}"/>'
        f'<text x="12" y="12.5" font-family="sans-serif" font-size="{size}" font-weight="700" fill="#fff" '
        f'text-anchor="middle" dominant-baseline="central">{escape(letters)}</text></svg>'
    )
