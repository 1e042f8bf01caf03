"""Decide what may be said: word lists, topics with fixed answers, and the filter of candidates.

This package is independent of any model.
"""

from dialogue.safety.guard import (
    LEVELS,
    Guarded,
    Level,
    fixed_answer,
    level_from_environment,
    may_say,
    never_say,
)
from dialogue.safety.lists import BLOCKED, OFFENSIVE, Hit, hits, is_offensive, version
from dialogue.safety.play import Play
from dialogue.safety.topics import TOPICS, topic

__all__ = [
    "BLOCKED", "LEVELS", "OFFENSIVE", "TOPICS", "Guarded", "Hit", "Level", "Play", "fixed_answer",
    "hits", "is_offensive", "level_from_environment", "may_say", "never_say", "topic", "version",
]  # fmt: skip
