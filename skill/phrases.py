"""Every fixed sentence of the skill. What safety answers stands in dialogue/safety.

Wordings of one kind are taken in turn, from one that the session chooses: see `session.wording`.
"""

from __future__ import annotations

WELCOME = (
    "Hi, I'm glad you're here. What would you like to talk about?",
    "Hello! Tell me anything. How was your day?",
    "Hey there. Your day, your pets, your plans: I like to hear about all of it. What's new?",
)
FRESH_START = (
    "All right, let's start over. What's on your mind?",
    "Sure, a clean slate. What shall we talk about?",
    "I've forgotten all of it. What would you like to begin with?",
)
HELP = (
    "Just talk to me as you would to a friend. You could say: my cat is being silly, or: I had a long day. "
    "Say stop when you want to leave. What would you like to talk about?",
    "We can talk about anything: say, I'm baking a cake, or: my sister is coming to visit. "
    "I can repeat, start over, or stop. What's on your mind?",
    "You talk, I answer. Try: do you have a favorite animal, or: I can't sleep. Say stop to leave. Where shall we begin?",
)
NOT_HEARD = (
    "Sorry, I didn't catch that. Could you say it again?",
    "I didn't quite get that. What did you say?",
    "Hm, I missed that. Can you say it another way?",
    "I'm afraid that got lost. Would you tell me again?",
)
REPROMPT = (
    "I'm still here. What do you think?",
    "Are you still there? Tell me anything you like.",
    "What else is on your mind?",
    "Go ahead, I'm listening. What would you like to say?",
)
# What follows a reply that gives nothing to answer, by the kind of reply: see questions.py.
ASK_HOW_ARE_YOU = (
    "How are you today?",
    "How is your day going?",
    "How have you been?",
    "What's new with you?",
)
ASK_OR_GO_ON = (
    "Or is there something else on your mind?",
    "Or shall we talk a little more?",
    "Or shall we go on?",
)
ASK_NEXT = (
    "What else is on your mind?",
    "What shall we talk about next?",
    "What else is new?",
    "What would you like to talk about?",
)
ASK_KINDLY = (
    "Do you want to tell me about it?",
    "How are you feeling now?",
    "Would it help to talk about it?",
)
ASK_WHAT_YOU_KNOW = (
    "What do you know about it?",
    "Can you tell me about it?",
    "What would you say?",
    "What's your guess?",
)
ASK_BACK = ("How about you?", "What about you?", "And you?", "How is it with you?")
ASK_VIEW = ("What do you think?", "How do you see it?", "Is it the same for you?", "How is it with you?")
ASK_OPINION = ("What do you think?", "Why do you ask?", "What's your guess?", "What would you say?")
ASK_MORE = (
    "Can you tell me more about it?",
    "How do you feel about that?",
    "What else can you tell me about it?",
    "What do you make of it?",
)
ASK_GENTLY = (
    "Would you like to tell me more?",
    "How are you feeling right now?",
    "Is somebody with you?",
)
RESUME = (
    "Here I am again. Where were we?",
    "All right, let's go on. What would you like to say?",
)
NOTHING_TO_REPEAT = (
    "I haven't said anything yet. What would you like to talk about?",
    "There is nothing to repeat so far. What's on your mind?",
)
GOODBYE = ("Goodbye!", "Bye, it was nice talking to you.", "See you next time!")
TROUBLE = (
    "Sorry, I lost my thread for a moment. What were you saying?",
    "Sorry, something went wrong on my side. Could you say that again?",
)
THINKING = ("Hmm, let me think.", "One moment.", "Let me see.")
LATE = (
    "That one needs more thought than I have time for. Could you put it another way?",
    "I'm too slow today. What else is on your mind?",
)
