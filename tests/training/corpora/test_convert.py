"""The samples were written for these tests, in the formats that published.py describes."""

import csv
import gzip
import io
import json

import pytest

from training import corpora
from training.corpora import convert
from training.corpora.transcript import Complaints


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def converted(name, source, out=None):
    """What is written: one dict per conversation."""
    out = out or source.parent / "out.jsonl"
    convert.convert(name, source, out)
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def turns_of(name, source):
    return [conversation["turns"] for conversation in converted(name, source)]


# --- EmpatheticDialogues -------------------------------------------------------------------------

ED = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"


def test_empathetic_dialogues_are_joined_in_order_by_their_id_and_commas_are_put_back(tmp_path):
    rows = (
        "hit:12_conv:30,2,proud,I won_comma_ at last.,8,Oh_comma_ well done!,5|5|5_5|5|5,\n"
        'hit:13_conv:31,1,afraid,A noise.,7,I heard a "noise",5|5|5_5|5|5,\n'
        "hit:12_conv:30,1,proud,I won_comma_ at last.,7, I won the race.,5|5|5_5|5|5,\n"
        "hit:13_conv:31,2,afraid,A noise.,9,Was it the cat?,5|5|5_5|5|5,,one candidate|another\n"
        "hit:12_conv:30,3,proud,I won_comma_ at last.,7,Thank you.,5|5|5_5|5|5,\n"
    )
    assert converted("empathetic", write(tmp_path / "test.csv", ED + rows)) == [
        {
            "id": "ed-12-30",
            "topic": "proud",
            "turns": ["I won the race.", "Oh, well done!", "Thank you."],
        },
        {"id": "ed-13-31", "topic": "afraid", "turns": ['I heard a "noise"', "Was it the cat?"]},
    ]


def test_a_conversation_id_of_another_form_is_kept_as_it_is(tmp_path):
    rows = "hit:1_conv:2 (1),1,sad,,7,Hi.,,\nhit:1_conv:2 (1),2,sad,,8,Hello.,,\n"
    [found] = converted("empathetic", write(tmp_path / "train.csv", ED + rows))
    assert found["id"] == "ed-hit:1_conv:2 (1)"


# --- Synthetic-Persona-Chat ----------------------------------------------------------------------


def persona_table(*conversations):
    columns = ["user 1 personas", "user 2 personas", "Best Generated Conversation"]
    table = io.StringIO()
    rows = [["I bake.\nI knit.", "I ski.", text] for text in conversations]
    csv.writer(table).writerows([columns, *rows])
    return table.getvalue()


def test_synthetic_persona_chat_has_a_conversation_a_row_and_lines_of_two_users(tmp_path):
    talk = 'User 1: Hi!\nUser 2: Hello, "you".\nUser 1: One thing\nand another.\nUser 1: A third.'
    path = tmp_path / "data" / "Synthetic-Persona-Chat_valid.csv"
    write(path, persona_table("", talk, "User 1: Bye!\nUser 2: Bye now!"))
    turns = ["Hi!", 'Hello, "you".', "One thing and another. A third."]
    assert converted("synthetic_persona", tmp_path, tmp_path / "out.jsonl") == [
        {"id": "spc-valid-1", "topic": "I bake.", "turns": turns},
        {"id": "spc-valid-2", "topic": "I bake.", "turns": ["Bye!", "Bye now!"]},
    ]


# --- Persona-Chat --------------------------------------------------------------------------------

PERSONA = (
    "1 your persona: i like to ski.\n"
    "2 your persona: my cat is old .\n"
    "3 partner's persona: i bake.\n"
    "4 hi , how are you ? i'm baking . . .\tfine ! i ski .\t\tno way|i'm 5 years old\n"
    "5 nice\tbye :)\t\tsure .|yes\n"
)


def test_persona_chat_begins_a_dialogue_where_the_numbers_begin_again(tmp_path):
    other = "1 your persona: i sing.\n2 hello\ti sing , do you ?\n"
    path = write(tmp_path / "valid_self_original.txt", PERSONA + other)
    assert converted("personachat", path) == [
        {
            "id": "persona-valid-0",
            "topic": "I like to ski. My cat is old.",
            "turns": ["Hi, how are you? I'm baking...", "Fine! I ski.", "Nice", "Bye :)"],
        },
        {"id": "persona-valid-1", "topic": "I sing.", "turns": ["Hello", "I sing, do you?"]},
    ]


@pytest.mark.parametrize("silence", ["__SILENCE__", "<SILENCE>", "__ SILENCE __"])
def test_persona_chat_seen_by_the_speaker_who_opens_it_is_the_same_dialogue(tmp_path, silence):
    """Silence is not a turn; the training part would otherwise have taught every dialogue twice."""
    opened = f"1 your persona: i bake.\n2 {silence}\thi , how are you ? i'm baking . . .\n"
    again = opened + "3 fine ! i ski .\tnice\n"
    alone = f"1 {silence}\tanyone here ?\n2 me !\tgood .\n"
    found = turns_of("personachat", write(tmp_path / "train.txt", PERSONA + again + alone))
    assert [len(turns) for turns in found] == [4, 3]
    assert found[1] == ["Anyone here?", "Me!", "Good."]


# --- PhotoChat -----------------------------------------------------------------------------------


def messages(*said):
    return [{"message": text, "share_photo": not text, "user_id": user} for user, text in said]


def photo(key, *said):
    about = "The photo has your friend Ann. Objects in the photo: Cake, Face"
    url = "https://example.org/1.jpg"
    found = {"dialogue_id": key, "photo_description": about, "photo_url": url, "photo_id": "a/1"}
    return found | {"dialogue": messages(*said)}


def test_photochat_ends_before_the_photo_and_messages_in_a_row_are_one_turn(tmp_path):
    talk = photo(7, (1, "Hey"), (1, "there!"), (0, "I baked."), (1, "Oh?"), (0, ""), (1, "Wow"))
    at_once = photo(8, (0, ""), (1, "Nice"), (0, "Thanks"))
    write(tmp_path / "train" / "train_03.json", json.dumps([talk, at_once]))
    write(tmp_path / "notes.json", "{}")
    assert converted("photochat", tmp_path, tmp_path / "out.jsonl") == [
        {
            "id": "photochat-train-03-7",
            "topic": "your friend Ann. Cake, Face",
            "turns": ["Hey there!", "I baked.", "Oh?"],
        }
    ]


# --- Meena's published talks ---------------------------------------------------------------------


def test_meenas_talks_are_apart_by_an_empty_line_with_or_without_a_heading(tmp_path):
    people = "Human Conversation 1\nHuman 1: Hi!\nHuman 2:  Hey: you?\nHuman 1: Fine 😐\n\n\n"
    more = "Human 1: So\nHuman 2: So?\n\n"
    bot = "Meena Conversation 1\r\nHuman: Hi!\r\nMeena: What's up?\r\nstill\r\n"
    write(tmp_path / "human.txt", people + more)
    write(tmp_path / "meena.txt", bot)
    write(tmp_path / "mitsuku.txt", "Human: Hi!\nMitsuku: Hi there!\n")
    assert converted("meena", tmp_path) == [
        {"id": "meena-human-1", "topic": "", "turns": ["Hi!", "Hey: you?", "Fine 😐"]},
        {"id": "meena-human-2", "topic": "", "turns": ["So", "So?"]},
        {"id": "meena-bot-1", "topic": "", "turns": ["Hi!", "What's up? still"]},
    ]


# --- small talk ----------------------------------------------------------------------------------

TSV = "Question\tAnswer\tSource\tMetadata\n"


def pair(question, answer):
    return f"{question}\t{answer}\tqna_chitchat_Friendly\teditorial:chitchat\n"


def test_small_talk_is_a_question_and_its_answer(tmp_path):
    rows = pair("Hi", 'Hey "you".') + pair("Bye ", "See you!\\nSoon.") + pair("Hello", 'Hey "you".')
    assert converted("smalltalk", write(tmp_path / "qna_chitchat_friendly.tsv", TSV + rows)) == [
        {"id": "chitchat-friendly-0-0", "topic": "friendly", "turns": ["Hi", 'Hey "you".']},
        {"id": "chitchat-friendly-0-1", "topic": "friendly", "turns": ["Hello", 'Hey "you".']},
        {"id": "chitchat-friendly-1-0", "topic": "friendly", "turns": ["Bye", "See you! Soon."]},
    ]


def test_small_talk_takes_twelve_questions_of_an_answer_evenly_apart(tmp_path):
    rows = "".join(pair(f"Question {number}?", "No.") for number in range(25))
    rows += "".join(pair(f"Other {number}?", "Yes.") for number in range(12))
    found = turns_of("smalltalk", write(tmp_path / "qna_chitchat_witty.tsv", TSV + rows))
    asked = [question for question, answer in found if answer == "No."]
    assert asked == [f"Question {number}?" for number in range(0, 24, 2)]
    assert len(found) == 24


def test_the_older_small_talk_has_no_column_for_the_source(tmp_path):
    path = tmp_path / "Queries_Responses_Humorous_QnAMaker.tsv"
    write(path, "Question\tAnswer\tMetadata\nHiya\tHey.\tScenario:Greetings_Generic\n")
    [found] = converted("smalltalk", tmp_path, tmp_path / "out.jsonl")
    assert (found["id"], found["turns"]) == ("chitchat-humorous-0-0", ["Hiya", "Hey."])


# --- what is written -----------------------------------------------------------------------------


def test_exact_doubles_and_what_nobody_answered_are_left_out_and_counted(tmp_path, capsys):
    talk = "Human 1: Hi!\nHuman 2: Hey!\n\n"
    path = write(tmp_path / "human.txt", f"{talk}{talk}Human 1: Anyone?\n\n{talk}")
    out = tmp_path / "new" / "meena.jsonl"
    assert convert.main(["meena", str(path), str(out)]) == 0
    left_out = "2 duplicates and 1 with fewer than two turns left out"
    said = f"1 conversations written to {out}; {left_out}\n"
    assert capsys.readouterr().out == said


def test_the_same_source_gives_the_same_packed_bytes_and_training_reads_them(tmp_path):
    path = write(tmp_path / "human.txt", "\ufeffHuman 1: Hé!\nHuman 2: Hey – you!\n")
    first, second = tmp_path / "first.jsonl.gz", tmp_path / "second.jsonl.gz"
    for out in (first, second):
        convert.convert("meena", path, out)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == bytes(4), "there is a time in it"
    assert gzip.decompress(first.read_bytes()).decode().startswith('{"id": "meena-human-1"')
    [read] = corpora.load([str(first)], "all", Complaints())
    assert read.turns == ("Hé!", "Hey – you!")
    assert set(tmp_path.iterdir()) == {path, first, second}


def test_private_details_are_for_cleaning_and_stay_in(tmp_path):
    talk = "Human 1: Mail me at ann@example.org\nHuman 2: I will.\n"
    [turns] = turns_of("meena", write(tmp_path / "human.txt", talk))
    assert turns[0] == "Mail me at ann@example.org"


# --- bad input -----------------------------------------------------------------------------------

SHORT = ED + "hit:1_conv:2,1,sad,prompt\n"
ROW = ED + "hit:1_conv:2,first,sad,prompt,7,Hi.,,\n"
PHOTO = json.dumps([photo(1, (0, "Hi"), (1, "Hey")), {"dialogue_id": 2}])
LONE = json.dumps([photo(1, (0, "Hi \ud800"), (1, "Hey"))])
LATIN = "Human 1: Hé\nHuman 2: Hm\n".encode("latin-1")
UTF_16 = TSV.encode("utf-16-le")
BAD = {
    "a column missing": (
        "empathetic",
        "conv_id,text\na,b\n",
        r"found the columns conv_id, text; expected the columns conv_id, utterance_idx",
    ),
    "a short row": (
        "empathetic",
        SHORT,
        r"line 2: found a row without speaker_idx, utterance; expected the columns",
    ),
    "an index that is no number": (
        "empathetic",
        ROW,
        r"line 2: found the utterance_idx 'first'; expected a number",
    ),
    "another table": (
        "synthetic_persona",
        TSV,
        r"found the columns Question.*; expected the columns user 1 personas",
    ),
    "commas for tabs": (
        "smalltalk",
        "Question,Answer\nHi,Hey\n",
        r"found the columns Question,Answer; expected the columns Question, Answer",
    ),
    "a line without a number": (
        "personachat",
        PERSONA + "hello\tyou\n",
        r"line 6: found 'hello\\tyou'; expected \"1 your persona",
    ),
    "a line without a reply": (
        "personachat",
        PERSONA + "6 hello\n",
        r"line 6: found '6 hello'; expected .*said<TAB>replied",
    ),
    "no JSON": ("photochat", "[{", r"found no JSON \(.*\); expected a list of"),
    "JSON too deep": ("photochat", "[" * 200_000, r"found no JSON \(.*\); expected a list of"),
    "JSON that is no list": ("photochat", "{}", r"found JSON that is a dict; expected a list of"),
    "a dialogue of another shape": (
        "photochat",
        PHOTO,
        r"dialogue 2: KeyError 'photo_description'; expected a list of",
    ),
    "a list of numbers": ("photochat", "[3]", r"dialogue 1: TypeError .*; expected a list of"),
    "half a character": (
        "photochat",
        LONE,
        r"photochat-file-1: found half a character .*; expected whole ones",
    ),
    "no talk": (
        "meena",
        "Once upon a time.\n",
        r"found no conversation; expected Meena's published talks",
    ),
    "another bot's talk": (
        "meena",
        "Mitsuku: Hi\nYou: Hi\n",
        r"found no conversation; expected Meena's published talks",
    ),
    "an empty file": ("smalltalk", " \n", r"found an empty file; expected conversations"),
    "Latin-1": ("meena", LATIN, r"line 1 is invalid UTF-8 \(.*\); save it as UTF-8"),
    "UTF-16": ("smalltalk", UTF_16, r"it looks like UTF-16LE without a byte order mark"),
}


@pytest.mark.parametrize(("name", "content", "complaint"), BAD.values(), ids=BAD)
def test_what_is_not_that_corpus_is_refused_and_nothing_written(tmp_path, name, content, complaint):
    path, out = write(tmp_path / "file", content), write(tmp_path / "out.jsonl", "as it was")
    with pytest.raises(ValueError, match=rf"{path}.*{complaint}"):
        convert.convert(name, path, out)
    assert out.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out.jsonl"]


@pytest.mark.parametrize("name", convert.CORPORA)
def test_a_folder_without_files_of_the_corpus_is_refused_with_their_names(tmp_path, name, capsys):
    write(tmp_path / "in" / "README.md", "nothing else")
    out = tmp_path / "out.jsonl"
    for source, found in (("in", "no such file"), ("nowhere", "nothing")):
        assert convert.main([name, str(tmp_path / source), str(out)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {tmp_path / source}: found {found} there; expected ")
        assert convert.CORPORA[name].patterns[0] in said
    assert not out.exists()


def test_two_conversations_under_one_id_are_refused(tmp_path):
    for folder, answer in (("one", "Hey!"), ("two", "Hello!")):
        write(tmp_path / folder / "human.txt", f"Human 1: Hi!\nHuman 2: {answer}\n")
    complaint = r"two/human\.txt: found the id meena-human-1 twice; expected it once"
    with pytest.raises(ValueError, match=complaint):
        convert.convert("meena", tmp_path, tmp_path / "out.jsonl")


def test_an_output_that_cannot_be_written_is_a_sentence(tmp_path, capsys):
    path = write(tmp_path / "human.txt", "Human 1: Hi!\nHuman 2: Hey!\n")
    assert convert.main(["meena", str(path), str(path / "out.jsonl")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_an_unknown_name_is_refused_with_those_that_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit):
        convert.main(["nonsense", str(tmp_path), str(tmp_path / "out.jsonl")])
    assert "empathetic" in capsys.readouterr().err
