"""The filters of a report's template. Escaping for HTML is the engine's, after any of these."""

from __future__ import annotations

from django import template

from shadow import words

register = template.Library()
register.filter(words.percent)
register.filter(words.thousands)
register.filter(words.utc)


@register.filter
def visible(text: object) -> str:
    """Foreign text with what doesn't show written as escapes."""
    return words.visible(str(text))
