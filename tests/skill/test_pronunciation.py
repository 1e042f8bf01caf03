"""Text as one says it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skill.pronunciation import as_said, cardinal, ordinal, year

SAID = [
    # numbers
    ("i am 25 and i have 2 dogs", "i am twenty-five and i have two dogs"),
    ("1,500 people, 1000000 stars", "one thousand five hundred people, one million stars"),
    (
        "in 1984, 2005, 2019 or 1905",
        "in nineteen eighty-four, two thousand five, twenty nineteen or nineteen oh five",
    ),
    ("the 80s, the 1990s, my 20's", "the eighties, the nineteen nineties, my twenties"),
    ("1st, 2nd, 3rd, 12th, 21st, 30th", "first, second, third, twelfth, twenty-first, thirtieth"),
    ("pi is 3.14", "pi is three point one four"),
    ("007", "zero zero seven"),
    ("1234567890123", "one two three four five six seven eight nine zero one two three"),
    ("at 7:30, 7:00 or 7:05", "at seven thirty, seven o'clock or seven oh five"),
    (
        "$5, $1, $3.50, $2 million, £10k",
        "five dollars, one dollar, three dollars and fifty cents, two million dollars, ten "
        "thousand pounds",
    ),
    ("10k people, 50% of them", "ten thousand people, fifty percent of them"),
    (
        "1/2 of it, 2 1/2 of that, 3½ cups",
        "a half of it, two and a half of that, three and a half cups",
    ),
    ("24/7", "twenty-four seven"),
    ("5-10 people at -5°", "five to ten people at minus five degrees"),
    ("3 x 4 = 12", "three times four equals twelve"),
    ("3 < 4", "three is less than four"),
    ("6 ft, 200 lbs, 60mph", "six feet, two hundred pounds, sixty miles per hour"),
    ("mp3, c3po, #1", "mp three, c three po, number one"),
    ("５ ①", "five one"),
    # abbreviations
    ("mr. smith vs. dr. who, etc.", "mister smith versus doctor who, et cetera"),
    ("e.g. cats, i.e. pets", "for example cats, that is pets"),
    ("the u.s.a. at 5 p.m. today", "the U S A at five P M today"),
    ("see google.com", "see google dot com"),
    # symbols
    ("tom & jerry", "tom and jerry"),
    ("w/ milk, w/o sugar, tea/coffee", "with milk, without sugar, tea or coffee"),
    ("me@home", "me at home"),
    ("<b>*wow*</b> [x] {y} ~z~ a_b", "b wow b x y z a b"),
    ("wow!!! really???", "wow! really?"),
    # what people type
    ("lol idk, btw u r right", "haha I don't know, by the way you are right"),
    ("IDK", "I don't know"),
    ("the lollipop, ur-text and u.k.", "the lollipop, ur-text and U K"),
    ("jk rowling, ty cobb, 500 bc", "jk rowling, ty cobb, five hundred bc"),
    ("hi 😀 there ❤️ 👍🏽 👨‍👩‍👧 :) ;-) <3", "hi there"),
    ("don ' t you ? it ' s ok", "don't you? it's ok"),
    ("“quoted” ‘words’ don’t", "\"quoted\" 'words' don't"),
    # nothing to say
    ("😀", ""),
    ("...", ""),
    (" , hello", "hello"),
]


@pytest.mark.parametrize(("written", "said"), SAID)
def test_a_text_is_said_as(written, said):
    assert as_said(written) == said


@pytest.mark.parametrize(("written", "said"), SAID)
def test_what_is_said_is_said_the_same_again(written, said):
    assert as_said(said) == said


@given(
    st.text(max_size=200) | st.text(alphabet="0123456789.,:/$%&@#-+=<>' abkxstndrhl", max_size=60)
)
def test_no_text_leaves_a_digit_or_a_mark_that_is_not_said(text):
    said = as_said(text)
    assert not any(mark in said for mark in "0123456789&<>%@#+=*/\\_~^$")
    assert said == " ".join(said.split())


def test_numbers_are_counted():
    assert [cardinal(n) for n in (0, 13, 40, 99, 100, 1001)] == [
        "zero",
        "thirteen",
        "forty",
        "ninety-nine",
        "one hundred",
        "one thousand one",
    ]
    assert cardinal(10**12 - 1).startswith("nine hundred ninety-nine billion nine hundred")
    assert [ordinal(n) for n in (5, 8, 9, 20, 101)] == [
        "fifth",
        "eighth",
        "ninth",
        "twentieth",
        "one hundred first",
    ]
    assert [year(n) for n in (1066, 1900, 2000, 2010)] == [
        "one thousand sixty-six",
        "nineteen hundred",
        "two thousand",
        "twenty ten",
    ]
