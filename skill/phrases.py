"""Every fixed sentence of the skill, except safety answers, which are in dialogue/safety.

The wordings of one kind take turns, starting from one that the session picks: see
`skill.session.wording`.
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
    "Just talk to me as you would to a friend. You could say: my cat is being silly, "
    "or: I had a long day. Say stop when you want to leave. What would you like to talk about?",
    "We can talk about anything: say, I'm baking a cake, or: my sister is coming to visit. "
    "I can repeat, start over, or stop. What's on your mind?",
    "You talk, I answer. Try: do you have a favorite animal, or: I can't sleep. "
    "Say stop to leave. Where shall we begin?",
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
# Questions to add to a reply that leaves people nothing to say, by what they said: see
# questions.py. {who} stands for a person or pet that was mentioned.
ASK_HOW_ARE_YOU = (
    "How are you today?",
    "How is your day going?",
    "How have you been?",
    "What's new with you?",
    "What are you up to?",
)
ASK_FIRST = (
    "What have you been up to today?",
    "What's on your mind?",
    "What shall we talk about?",
    "Has anything happened today?",
    "What are your plans for today?",
)
ASK_OR_GO_ON = (
    "Or is there something else on your mind?",
    "Or shall we talk a little more?",
    "Or is there time for another topic?",
    "Or would you rather stay a bit?",
)
ASK_NEXT = (
    "So what would you like to talk about?",
    "What else is going on with you?",
    "What shall we talk about next?",
    "What else have you been up to?",
    "Is there something you'd like to tell me?",
    "What else is on your mind?",
)
ASK_OFFER = (
    "Is there anything else you'd like to talk about?",
    "What else can we talk about?",
    "Shall we go on with something new?",
    "What else is on your mind?",
    "What are you up to next?",
)
ASK_FEELING = (
    "What brought that on?",
    "How long have you felt like that?",
    "What makes you feel like that?",
    "Do you often feel that way?",
)
ASK_KINDLY = (
    "What will you do now?",
    "How does that feel?",
    "Do you want to tell me more about it?",
    "What would make it better?",
)
ASK_BACK = (
    "How about you?",
    "What about you?",
    "And you?",
    "How is it with you?",
    "And what about yourself?",
)
ASK_WHETHER = (
    "Does that answer your question?",
    "Does that make sense to you?",
    "What made you think of that?",
    "What's your own guess?",
)
ASK_LIKING = (
    "What do you like best about it?",
    "How did that begin?",
    "Have you always liked it?",
    "Who else do you know that likes it?",
)
ASK_DISLIKE = (
    "What bothers you most about it?",
    "Has it always been like that?",
    "What would be better?",
    "What do you do about it?",
)
ASK_ABOUT = (
    "What is your {who} like?",
    "What would your {who} say to that?",
    "How is your {who} these days?",
    "What else can you tell me about your {who}?",
)
ASK_PLAN = (
    "Are you looking forward to it?",
    "How do you feel about it?",
    "How long have you planned that?",
    "What do you need for it?",
)
ASK_STORY = (
    "What happened next?",
    "And how did it go on?",
    "And then?",
    "And what came of it?",
)
ASK_ADVICE = (
    "Would you try that?",
    "Would that help?",
    "How does that sound?",
    "What do you say to that?",
    "Can you do that?",
)
ASK_RIGHT = (
    "Am I right?",
    "Is that so?",
    "Did I get that right?",
    "Or am I wrong?",
    "Is that true?",
)
ASK_AGREE = (
    "Don't you think?",
    "Wouldn't you say?",
    "What do you think?",
    "Do you agree?",
    "Does that sound right?",
)
ASK_ON = (
    "What else comes to your mind?",
    "What else would you like to tell me?",
    "Is there more to it?",
    "And what else?",
    "Shall we go on, or talk about something else?",
)
ASK_GENTLY = (
    "Would you like to tell me more?",
    "How are you feeling right now?",
    "Is somebody with you?",
    "What would help a little right now?",
    "Who could be there for you today?",
)
REPROMPT_GENTLY = (
    "I'm still here. Take all the time you need. Would you like to tell me more?",
    "There is no hurry. Is somebody with you?",
    "I'm here, and I'm listening. How are you feeling?",
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
BUSY = (
    "One moment, please: many people are talking to me right now. Could you ask me again?",
    "Just a moment. A lot of people are talking to me. Would you say that again?",
)
