"""Join a list of regular expressions from a TOML file, with the file's fragments filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_FRAGMENT = re.compile(r"\{([a-z]+)\}")


def joined(patterns: Iterable[str], fragments: Mapping[str, str]) -> str:
    """Return patterns joined by "or".

    A name in braces, such as "{game}", stands for a fragment, which may name others. Raises
    KeyError if there is no such fragment.
    """
    pattern = "|".join(patterns)
    while _FRAGMENT.search(pattern):
        pattern = _FRAGMENT.sub(lambda match: f"(?:{fragments[match[1]]})", pattern)
    return pattern
