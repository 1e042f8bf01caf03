"""What may be said: lists of words, what is answered with a fixed sentence, the filter of the n-best. Knows no model."""

from dialogue.safety.lists import OFFENSIVE, Hit, hits, is_offensive, version

__all__ = ["OFFENSIVE", "Hit", "hits", "is_offensive", "version"]
