"""Whether people say that the last reply missed, and what is answered to that."""

import pytest

from dialogue.repair import WORDINGS, trouble
from skill.questions import invites

MISSED = {
    "echo": [
        ("I'm sure he will.", "he will what"),
        ("I like the smell of it.", "the smell of what anyway i was in the garage"),
        ("I can't forget.", "can't forget what anyway i went to the dentist"),
        ("Thank you.", "thank you for what"),
        ("I've seen that.", "seen what"),
        ("I'm sure you will.", "i'm sure i will what i said i've got a new stove"),
        ("I'd love to.", "you'd love to what never mind"),
        ("Sounds fun! And then?", "what do you mean"),
        ("That's kind of her.", "kind of who i only said there's a bus"),
        ("That's too bad.", "why's it too bad the radio was broken"),
        ("Oh, that's great. And then?", "why is that great"),
    ],
    "denial": [
        ("That's too bad. What would make it better?", "no it's not bad i like it like that"),
        ("It's all right to cry.", "i'm not crying it was a funny film"),
        ("Don't be so hard on yourself.", "i'm not hard on myself it was the dog"),
        ("That's good.", "no it's not good i've lost the keys"),
        ("She's lucky to have you.", "ha no she isn't"),
        ("I'm sorry for your loss. What was she like?", "nobody died my aunt is fine"),
        ("I'm sorry. How long had she been ill?", "she's still alive she's in the kitchen"),
        ("They live on in the stories you tell.", "oh he's not dead he's at home"),
        ("That sounds really hard.", "it's not that hard i just forgot"),
        ("She's lucky to have you.", "i don't know about lucky we fight a lot"),
        ("You must feel proud.", "i suppose i don't feel proud though"),
        ("That's too bad. Do you want to tell me more about it?", "no it was fine we laughed"),
        ("That's a shame.", "no she's great about it"),
        ("That's a lot of fun!", "fun not really my back was killing me"),
        ("That's amazing. And then?", "nothing amazing about it it fell over"),
        ("The phone is a bad bedfellow.", "what no i never said anything about bed"),
        ("That sounds like fun.", "no it isn't fun at all i'm worried"),
        ("That's great.", "great it's not great it hurts"),
        ("That's so cool!", "not really cool it's a bit dull"),
        ("Missing somebody means they mattered.", "what no nobody's missing i lost a spoon"),
        ("I'm so sorry.", "well nobody's died it's just a field"),
    ],
    "told": [
        ("How many years did you work there?", "twelve like i said"),
        ("What's her name?", "i told you it's rose"),
        ("A short message might help.", "but i said she won't read my messages"),
        ("Have you seen it?", "i just told you i saw it today"),
        ("Which one is it?", "i already told you the red one"),
        ("Missing somebody means they mattered.", "no i said he's alive"),
        ("What's your major?", "i'm not at school i've told you that"),
    ],
    "complaint": [
        ("It's hard to pick just one.", "you didn't answer my question"),
        ("I love riddles.", "that's not what i asked"),
        ("I'd love that.", "no i asked if you get tired"),
        ("You're right.", "that makes no sense"),
        ("You're right.", "you don't make sense"),
        ("A good book stays.", "a book no i'm talking about my bike"),
        ("Correct!", "you were supposed to guess it"),
        ("That sounds beautiful.", "are you even listening"),
        ("I like the sound of it.", "the sound of what you haven't answered me"),
        ("Sounds like a plan.", "no you misunderstood me"),
        ("Sorry, I got that wrong. Tell me more.", "you're not listening"),
        ("Good luck with it!", "sure but i wanted to know about the hill"),
    ],
    "contradiction": [
        ("Then I'd sleep.", "ha you just told me you don't sleep"),
        ("I think so.", "but a minute ago you said i was right"),
        ("I never saw a film.", "but you said you like star wars"),
    ],
}
FINE = [
    ("It's Lettuce.", "lettuce who"),
    ("They say it helps.", "says who"),
    ("I like my street better in the snow.", "why is it better in the snow"),
    ("It's great in winter.", "why is it great in winter"),
    ("I would throw it every day.", "not every day"),
    ("You always agree.", "not always"),
    ("That's true.", "not bad"),
    ("Ask him tonight.", "he'll say i told you so"),
    ("I don't tell people that.", "you just told me"),
    ("I like jazz.", "you said it"),
    ("Where to?", "i wanted to know about trains"),
    ("Who's missing?", "nobody's missing"),
    ("", "no it's not bad"),
    ("Do you miss him?", "no he's in the garden"),
    ("Is it far from here?", "no it's not far at all"),
    ("You can't have everything.", "no you can't"),
    ("That's not fair.", "no it isn't"),
    ("You never know.", "you know what i think i'll do it"),
    ("I can only guess.", "guess what i was at the zoo"),
    ("What did you say then?", "no i said nothing at all"),
    ("That's a thing to want.", "it's not that i want it"),
    ("I like what they do.", "i like what they do with colors too"),
    ("That's what matters.", "that's what i said"),
    ("What did you say?", "i said yes of course"),
    ("Does he know that you know?", "no i said nothing"),
    ("Does she know you wanted it?", "i never said a word"),
    ("That's an awful task. Do you agree with it?", "no she's good"),
    ("It's normal to be nervous.", "i'm so nervous i can't sleep"),
    ("Pasta keeps for years.", "i don't like pasta"),
    ("Jazz is a good choice.", "it's not jazz it's blues do you like rock"),
    ("You know more about it than I do.", "my brother didn't die in the war"),
    ("Sorry, I got that wrong. Tell me more.", "no it's fine it was not wrong"),
    ("Sorry, I got that wrong. Tell me more. And then?", "it's not wrong"),
    ("What else can we talk about?", "no that's about it"),
    ("Who else do you know that likes it?", "no nobody really"),
    ("I like jazz. How about you?", "no i hate jazz"),
    ("I'd say yes. What makes you ask?", "no i was just curious"),
    ("I can sing you a song.", "no that's all right"),
    ("I could tell you a joke.", "no i want a story"),
    ("You should call her.", "no i can't"),
    ("Try to rest.", "no i can't sleep"),
    ("You could call a friend.", "no they're all busy"),
    ("Have a cookie then.", "no i'm on a diet"),
    ("That's unfair.", "no it's not fair"),
    ("That's awful.", "no it wasn't nice at all"),
    ("I'm sorry for your loss.", "no it's not easy"),
    ("I'm sorry to hear that.", "no it's been hard"),
    ("I doubt he'll come.", "no he won't"),
    ("Few people know that.", "no they don't"),
    ("That's kind of you.", "no she's my sister it's normal"),
    ("Tea is better.", "no i prefer coffee"),
    ("I guess it's a cat.", "no it's a dog"),
    ("Nice plan. Or shall we talk a little more?", "no i have to go"),
    ("I like jazz.", "no i like rock what's yours"),
    ("What are you thinking about?", "thinking about what to cook"),
    ("What do you worry about?", "i worry about what people think"),
    ("It depends on the weather.", "it depends on what you like"),
    ("You should tell her.", "i'll tell her what i think"),
    ("You should ask him.", "i'll ask him what he thinks"),
    ("Dogs are great.", "dogs are what i love most"),
    ("I see.", "see what i mean"),
    ("You look great.", "look what i got"),
    ("That's about right.", "that's about what i expected"),
    ("I know a riddle.", "what riddle"),
    ("A movie night sounds fun.", "what movie should we watch"),
    ("You should rest.", "what should we do tomorrow"),
    ("That could work.", "what could go wrong"),
    (
        "Sand gets into everything at the beach. What did you do there?",
        "we didn't stay at the beach long",
    ),
    ("I like soccer. Which sport do you like?", "soccer not football"),
    ("Coffee wakes people up. How do you take it?", "coffee no sugar"),
    ("Home cooking beats any restaurant.", "nothing beats home cooking"),
    ("Pizza tastes great with mushrooms.", "nothing tastes better"),
    ("That must be hard.", "it's not just hard it's impossible"),
    ("Sounds like fun!", "it's not only fun it's good exercise"),
    ("Dancing helps.", "i don't feel like dancing"),
    ("Sleep well tonight.", "i didn't sleep last night"),
    ("What did you say to him?", "i didn't say anything"),
    ("Did you tell her?", "i didn't mention it"),
    ("Who broke it?", "i didn't say it was you"),
    ("What are you talking about?", "i'm talking about football"),
    ("What do you mean?", "i was talking about my sister"),
    ("How did the argument start?", "he said that's not what i meant"),
    ("What's your job?", "i asked your friend about that"),
    ("Tell me a secret.", "i asked you first"),
    ("How was work?", "i told you to remind me about the meeting"),
    ("What did mom say?", "no i told you not to"),
    ("Did he take it well?", "i already said that i would help him"),
    ("I'm sorry to hear that.", "no it's okay"),
    ("I'm sorry.", "no it's not your fault"),
    ("Sorry about that.", "no that's okay"),
    ("That makes sense.", "that makes sense"),
    ("I hope so.", "yes that makes sense to me"),
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
    assert wording.endswith("?") or invites(wording, vaguely=False)
