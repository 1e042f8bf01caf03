"""Regular expressions out of a TOML file: those of a list as one, with the file's fragments filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_FRAGMENT = re.compile(r"\{([a-z]+)\}")


def joined(patterns: Iterable[str], fragments: Mapping[str, str]) -> str:
    """Join patterns by "or"; a fragment's name in braces, "{game}", stands for the fragment, which may name others.

    Raises KeyError where a name is no fragment's.
    """
    pattern = "|".join(patterns)
    while _FRAGMENT.search(pattern):
        pattern = _FRAGMENT.sub(lambda match: f"(?:{fragments[match[1]]})", pattern)
    return pattern
