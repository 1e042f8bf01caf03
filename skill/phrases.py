"""Every fixed sentence that the skill can say, and the utterances that end a conversation. Nothing else stands here."""

from __future__ import annotations

import hashlib

from dialogue.words import words

WELCOME = (
    "Hi, I'm glad you're here. What would you like to talk about?",
    "Hello! Tell me anything. How was your day?",
    "Hey there. I like movies, music and sports. What do you like?",
)
FRESH_START = (
    "All right, let's start over. What's on your mind?",
    "Sure, a clean slate. What shall we talk about?",
)
HELP = (
    "Just talk to me as you would to a friend. You could say: I saw a great movie, or: what music do you like? "
    "Say stop when you want to leave. What would you like to talk about?",
)
NOT_HEARD = (
    "Sorry, I didn't catch that. Could you say it again?",
    "I didn't quite get that. What did you say?",
    "Hm, I missed that. Can you say it another way?",
)
REPROMPT = (
    "I'm still here. What do you think?",
    "Are you still there? Tell me anything you like.",
    "What else is on your mind?",
    "Go ahead, I'm listening. What would you like to say?",
)
RESUME = (
    "Here I am again. Where were we?",
    "All right, let's go on. What would you like to say?",
)
NOTHING_TO_REPEAT = ("I haven't said anything yet. What would you like to talk about?",)
GOODBYE = ("Goodbye!", "Bye, it was nice talking to you.", "See you next time!")
TROUBLE = ("Sorry, I lost my thread for a moment. What were you saying?",)

# Whole utterances that mean "leave", should Alexa put them in the slot. Thanks alone never ends a conversation.
_FAREWELLS = {
    "stop", "stop it", "please stop", "stop please", "stop talking", "stop now", "alexa stop", "ok stop", "okay stop",
    "quit", "exit", "cancel", "end", "leave", "shut up", "be quiet", "enough", "that's enough", "end the conversation",
    "goodbye", "good bye", "bye", "bye bye", "ok bye", "okay bye", "bye now", "goodbye alexa", "bye alexa", "goodnight",
    "good night", "see you", "see you later", "see ya", "talk to you later", "i have to go", "i've got to go", "i gotta go",
    "i'm done", "we're done", "i want to stop", "let's stop", "thanks bye", "thank you goodbye", "thanks goodbye",
}  # fmt: skip


def is_farewell(utterance: str) -> bool:
    """Tell whether a whole utterance asks to end the conversation."""
    return " ".join(words(utterance)) in _FAREWELLS


def pick(wordings: tuple[str, ...], seed: str) -> str:
    """Choose a wording by a seed, such as the request's id: the same seed, the same wording."""
    return wordings[int(hashlib.sha256(seed.encode(errors="replace")).hexdigest(), 16) % len(wordings)]
