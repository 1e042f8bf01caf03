"""The question that follows a reply fits what was said."""

import pytest

from skill import phrases

STATEMENTS = [
    ("hello", "hi!", phrases.ASK_HOW_ARE_YOU),
    ("good morning", "Good morning to you", phrases.ASK_HOW_ARE_YOU),
    ("hello", "I was just quiet. Go ahead, I'm with you.", phrases.ASK_HOW_ARE_YOU),
    ("i'm fine", "Fine is good enough for me, and for most.", phrases.ASK_FIRST),
    ("not much", "That leaves a lot of room for everything else.", phrases.ASK_FIRST),
    ("okay", "Good. I had hoped that you would say so.", phrases.ASK_NEXT),
    ("i see", "I'm here if you want to say something.", phrases.ASK_NEXT),
    ("i don't know", "Nobody has to know everything at once.", phrases.ASK_NEXT),
    ("thank you", "you're welcome", phrases.ASK_OFFER),
    ("thanks for yesterday", "It was nothing much, and I liked it.", phrases.ASK_OFFER),
    ("it's bedtime for me", "good night!", phrases.ASK_OR_GO_ON),
    ("yes", "Then I wish you a very good night.", phrases.ASK_OR_GO_ON),
    ("i'm so nervous", "That is how it goes before such a day.", phrases.ASK_FEELING),
    ("i feel lonely today", "A long evening is longer by oneself.", phrases.ASK_FEELING),
    ("can you whistle", "No, I have no lips for such things.", phrases.ASK_BACK),
    ("what's your favorite song", "i like the one about the rain", phrases.ASK_BACK),
    ("i like to cook", "Nobody leaves a kitchen that smells of onions.", phrases.ASK_LIKING),
    ("i hate mondays", "They come every week, without being asked.", phrases.ASK_DISLIKE),
    ("i start on monday", "Monday is still some days away from here.", phrases.ASK_PLAN),
    ("i asked for four more", "Then the last one of them is yours.", phrases.ASK_STORY),
    ("my cat ran off", "that's not too bad", phrases.ASK_STORY),
    ("i sat alone again", "I'm sorry. Maybe sit near somebody quiet tomorrow.", phrases.ASK_ADVICE),
    (
        "i left the bath running", "That happens to many. Let it dry with paper under it.",
        phrases.ASK_ADVICE,
    ),
    ("sounds good to me", "I like it when a plan fits into two words.", phrases.ASK_NEXT),
    ("we have a wasp nest", "Oh dear. Wasps keep what they have.", phrases.ASK_KINDLY),
]  # fmt: skip


@pytest.mark.parametrize(("said", "reply", "fitting"), STATEMENTS)
def test_a_reply_that_leaves_nothing_to_say_is_followed_by_a_question_that_fits(
    talk, agent, said, reply, fitting
):
    """ "Hi!" left the microphone open and nothing to answer."""
    _, heard = talk(agent, [("it rains", "does it?"), (said, reply)])
    assert heard.endswith(fitting)
    assert heard.count("?") == 1


OPENINGS = {
    phrases.ASK_HOW_ARE_YOU: (
        "good day", "greetings", "g'day", "hiya", "hello hello", "hello alexa hello", "hey buddy",
        "hello my friend",
        "hi chatty friend", "good evening alexa", "howdy partner", "nice to see you",
        "good to see you", "long time no see",
        "i'm back", "hi it's me", "top of the morning", "good afternoon my friend",
        "hey alexa good morning",
    ),
    phrases.ASK_FIRST: (
        "doing well", "pretty good actually", "all good here", "i'm all right i guess",
        "can't complain", "same old same old",
        "slept okay", "i slept well", "never better", "meh", "it's going well", "fine i suppose",
        "good so far",
        "not too bad thanks", "everything is fine", "just the usual", "not much going on",
        "fine thanks for asking",
    ),
    phrases.ASK_KINDLY: ("not so good", "i've been better", "not great", "not too well today"),
    phrases.ASK_NEXT: (
        "sounds great", "makes sense", "fair enough", "good to know", "no way", "very nice",
        "that's awesome", "interesting",
        "gotcha", "right on", "sure thing", "uh huh", "i guess so", "if you say so", "good one",
        "very funny", "how nice",
        "lovely", "exactly", "you bet", "cool cool", "sounds like a plan", "you're so right",
        "i had no idea", "okay sounds good",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "said", ["a quiet girl named june", "a warm loaf shaped like a bucket", "a boat made of paper"]
)
def test_what_only_looks_like_a_story_is_not_asked_how_it_ended(talk, agent, said):
    heard = talk(agent, [("it rains", "does it?"), *[(said, "I hope that it is for me.")] * 3])
    assert not any(text.endswith(phrases.ASK_STORY) for text in heard)


def test_praise_is_not_to_be_agreed_with(talk, agent):
    """ "You can count well. Do you agree?" """
    heard = talk(
        agent,
        [("it rains", "does it?"), *[("two more", "Right, two are left. You can count well.")] * 3],
    )
    assert heard[3].endswith(phrases.ASK_ON)


def test_what_the_bot_would_do_is_no_guess_at_the_person(talk, agent):
    """ "Then I'd sit there, too. Is that so?" """
    heard = talk(
        agent, [("it rains", "does it?"), *[("in the lake", "Then I'd sit there by it, too.")] * 3]
    )
    assert heard[3].endswith(phrases.ASK_ON)


@pytest.mark.parametrize("fitting", OPENINGS)
def test_hello_how_one_is_and_okay_are_known_in_other_words_too(talk, agent, fitting):
    """Of 131 ways to say them 30 were known: "hello hello" and "sounds great" left the microphone
    open without a question.
    """
    for said in OPENINGS[fitting]:
        _, heard = talk(
            agent, [("it rains", "does it?"), (said, "The rain has been here for a while now.")]
        )
        assert heard.endswith(fitting), said


@pytest.mark.parametrize(
    "said",
    [
        "morning is my best time", "good dogs", "nice try with the cake", "i slept in the garden",
        "i'm fine with the red one",
        "it's me who cooks", "all good things end", "perfect pancakes", "i guess it was the cat",
        "greetings from my aunt",
        "i'm back at school", "lovely flowers on the table", "i'm good at chess", "evenings",
        "evening",
    ],
)  # fmt: skip
def test_what_only_begins_like_hello_or_okay_is_taken_for_what_it_says(talk, agent, said):
    _, heard = talk(agent, [("it rains", "does it?"), (said, "It was there before.")])
    assert not heard.endswith(tuple(question for wordings in OPENINGS for question in wordings))


def test_a_part_of_the_day_is_a_greeting_where_it_is_answered_as_one(talk, agent):
    _, heard = talk(
        agent,
        [
            ("it rains", "does it?"),
            ("morning", "Morning, sunshine! You sound as if you had slept."),
        ],
    )
    assert heard.endswith(phrases.ASK_HOW_ARE_YOU)


def test_a_long_text_of_such_words_is_no_greeting(talk, agent):
    """It would have been matched in every way that its words can be shared out."""
    for said in ("really good " * 40, "hello so very well " * 40):
        _, heard = talk(
            agent,
            [
                ("it rains", "does it?"),
                (f"{said} zebra", "The rain has been here for a while now."),
            ],
        )
        assert not heard.endswith(tuple(question for wordings in OPENINGS for question in wordings))


def test_a_guess_at_who_asked_is_left_for_them_to_judge(talk, agent):
    """ "But you sound tired of it. What about you?" """
    _, heard = talk(
        agent,
        [
            ("it rains", "does it?"),
            ("do you mind the rain", "No, it never reaches me. But you sound tired of it."),
        ],
    )
    assert heard.endswith(phrases.ASK_RIGHT)


def test_after_a_death_questions_are_gentle_for_a_while(talk, agent):
    """Two turns after "our dog died this morning" came "What do you think?"."""
    heard = talk(
        agent,
        [
            ("our dog died this morning", "How long did you have him?"),
            ("he was old", "That is so."),
            ("yes", "Okay."),
        ],
    )
    assert all(text.endswith(phrases.ASK_GENTLY) for text in heard[1:])
    heard = talk(
        agent,
        [
            ("my phone died this morning", "How long did you have it?"),
            ("it was old", "That is so."),
        ],
    )
    assert not heard[1].endswith(phrases.ASK_GENTLY)


LATER = [
    ("every friday", "Maybe the mailman could bring a treat one day.", phrases.ASK_ADVICE),
    ("on my phone", "Just wait until you can feel your tongue.", phrases.ASK_ADVICE),
    ("she laughs", "Maybe someone at a garden shop can look at a leaf.", phrases.ASK_ADVICE),
    ("the seventies", "I bet everybody turns around when you come by.", phrases.ASK_RIGHT),
    ("when she sleeps", "You've earned every hour of it yourself.", phrases.ASK_RIGHT),
    ("only the neighbors", "Neighbors are dangerous at cards, all of them.", phrases.ASK_AGREE),
]


@pytest.mark.parametrize(("said", "reply", "fitting"), LATER)
def test_a_statement_within_a_talk_is_left_to_itself_once(talk, agent, said, reply, fitting):
    """In ten live talks 53 of 100 answers ended in a stock question, and made less sense for it."""
    heard = talk(agent, [("it rains", "does it?"), (said, reply), (said, reply)])
    assert "?" not in heard[1]
    assert heard[2].endswith(fitting)


@pytest.mark.parametrize(
    ("said", "reply", "question"),
    [
        ("my brother he's the artist", "Lucky you, the birds will look real.", "your brother"),
        ("with my little sister", "Sisters know where everything is.", "your sister"),
        ("i go with my dog", "That is good company for any road.", "your dog"),
    ],
)
def test_somebody_who_was_named_is_asked_about(talk, agent, said, reply, question):
    _, heard = talk(agent, [("it rains", "does it?"), (said, reply)])
    assert question in heard
    assert heard.endswith("?")


@pytest.mark.parametrize(
    "said",
    [
        "my grandma died",
        "i miss my dad",
        "my ex wife",
        "my dog is sick",
        "it was my brother's car",
        "he is heavier than my dad",
    ],
)
def test_nobody_is_asked_about_who_is_gone_ill_or_only_owns_something(talk, agent, said):
    for reply in ("I hope that all of it goes well for me.", "okay"):
        heard = talk(agent, [("it rains", "does it?"), *[(said, reply)] * 6])
        assert "your" not in " ".join(heard).replace("on your mind", "").replace(
            "to your mind", ""
        ).replace("your question", "")
