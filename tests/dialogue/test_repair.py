"""Whether people say that the last reply missed, and what is answered to that."""

import pytest

from dialogue.repair import WORDINGS, trouble
from skill.questions import invites

MISSED = {
    "echo": [
        ("I'm sure he will.", "he will what"),
        ("I like the smell of it.", "the smell of what i was in the garage"),
        ("I can't forget.", "can't forget what anyway i went to the dentist"),
        ("Thank you.", "thank you for what"),
        ("I've seen that.", "seen what"),
        ("I'm sure you will.", "i'm sure i will what i said i've got a new stove"),
        ("I'd love to.", "you'd love to what never mind"),
        ("Sounds like a plan.", "what plan it's far too hot"),
        ("Sounds fun! And then?", "what do you mean"),
        ("Ten minutes.", "Ten minutes of what? I said nothing of the kind."),
    ],
    "denial": [
        ("That's too bad. What would make it better?", "no it's not bad i like it like that"),
        ("It's all right to cry.", "i'm not crying it was a funny film"),
        ("Don't be so hard on yourself.", "i'm not hard on myself it was the dog"),
        ("That's good.", "no it's not good i've lost the keys"),
        ("She's lucky to have you.", "ha no she isn't"),
        ("I'm sorry for your loss. What was she like?", "nobody died my aunt is fine"),
        ("I'm sorry. How long had she been ill?", "she's still alive she's in the kitchen"),
        ("That sounds really hard.", "it's not that hard i just forgot"),
        ("She's lucky to have you.", "i don't know about lucky we fight a lot"),
        ("That's too bad. Do you want to tell me more about it?", "no it was fine we laughed"),
        ("That's a lot of fun!", "fun not really my back was killing me"),
        ("That's amazing. And then?", "nothing amazing about it it fell over"),
        ("The phone is a bad bedfellow.", "what no i never said anything about bed"),
        ("They live on in the stories you tell.", "oh he's not dead he's at home"),
    ],
    "told": [
        ("How many years did you work there?", "twelve like i said"),
        ("What's her name?", "i told you it's rose"),
        ("A short message might help.", "but i said she won't read my messages"),
        ("Have you seen it?", "i just told you i saw it today"),
        ("You must be so happy for me.", "me i just said i'm on my own all week"),
    ],
    "complaint": [
        ("It's hard to pick just one.", "you didn't answer my question"),
        ("I love riddles.", "that's not what i asked"),
        ("I'd love that.", "no i asked if you get tired"),
        ("You're right.", "that makes no sense"),
        ("A good book stays.", "a book no i'm talking about my bike"),
        ("Correct!", "you were supposed to guess it"),
        ("That sounds beautiful.", "are you even listening"),
        ("Sorry, I got that wrong. Go on.", "you're not listening"),
    ],
}
FINE = [
    ("", "no it's not bad"),
    ("Do you miss him?", "no he's in the garden"),
    ("Is it far from here?", "no it's not far at all"),
    ("Did it hurt? I hope not.", "no it didn't"),
    ("You can't have everything.", "no you can't"),
    ("That's not fair.", "no it isn't"),
    ("You never know.", "you know what i think i'll do it"),
    ("I like what they do.", "i like what they do with colors too"),
    ("That's what matters.", "that's what i said to my sister"),
    ("What did you say?", "i said yes of course"),
    ("Congratulations!", "she asked me and i said yes"),
    ("What would you like to talk about?", "no idea"),
    ("I can tell you a story.", "no thanks"),
    ("It's normal to be nervous.", "i'm so nervous i can't sleep"),
    ("It gets easier with time.", "i know"),
    ("Pasta keeps for years.", "i don't like pasta"),
    ("A dog keeps you company.", "i don't have a dog"),
    ("Jazz is a good choice.", "no it's too loud. do you like rock"),
    ("You know more about it than I do.", "my brother didn't die in the war"),
    ("Sorry, I got that wrong. Go on.", "no it's fine"),
    ("That's funny.", "do you know what a narwhal is"),
    ("Water or wine?", "water what's my whole order"),
    ("What happened?", "what happened was that the train broke down"),
    ("Allergic to cats! Did she sneeze?", "not once but she cried"),
    ("That's a famous soup.", "what can i put in to make it thick"),
    ("He saw a trick and finished at once.", "what was the trick"),
]


@pytest.mark.parametrize(
    ("kind", "said", "utterance"),
    [(kind, *pair) for kind, pairs in MISSED.items() for pair in pairs],
)
def test_a_reply_that_missed_is_noticed(kind, said, utterance):
    assert trouble(utterance, said) == kind


@pytest.mark.parametrize(("said", "utterance"), FINE)
def test_an_answer_an_agreement_and_a_story_are_no_trouble(said, utterance):
    assert trouble(utterance, said) == ""


def test_an_added_question_is_part_of_what_was_said():
    said = "That's sad. <continued_utterance> What happened next?"
    assert trouble("no it's not sad at all", said) == "denial"


@pytest.mark.parametrize("wording", [one for of_kind in WORDINGS.values() for one in of_kind])
def test_every_apology_hands_the_word_back(wording):
    assert wording.endswith("?") or invites(wording)
