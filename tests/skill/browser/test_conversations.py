"""Conversations in the simulator: turns, silence, settings, save and replay."""

import json
import re

from dialogue.agent import DialogueAgent
from skill import phrases, replay
from skill.speech import to_speech

from .conftest import IN_CHROMIUM, SAID, answered, bubbles, launch, speak

pytestmark = IN_CHROMIUM


def test_a_launch_five_turns_and_a_look_inside(visit):
    page = visit()
    assert launch(page) in phrases.WELCOME
    heard = [speak(page, said) for said in SAID]
    assert heard[0].startswith("Yes, I like jazz")
    assert page.locator("#talk .heard").all_inner_texts()[:2] == [
        "heard as: LaunchRequest",
        "heard as: do you like music",
    ]
    assert "heard as: AMAZON.YesIntent" in page.locator("#talk .heard").all_inner_texts()

    page.locator("#talk .it").nth(1).get_by_role("button", name="Look inside").click()
    assert page.locator("#panel-why tr.said td").first.inner_text() == "yes, i like jazz"
    assert page.locator("#panel-why tbody tr").count() > 3
    scores = page.locator("#panel-why td.number:not(.optional)").all_inner_texts()
    assert [float(score) for score in scores] == sorted(map(float, scores), reverse=True), (
        "best first"
    )
    assert "The contract is kept" in page.inner_text("#panel-why")
    page.click("#tab-history")
    assert page.evaluate("document.querySelector('#panel-history canvas').width") == 24
    assert re.fullmatch(r"\d\.\d{3} on average, \d\.\d{2} at most\.", page.inner_text("#change"))
    page.click("#tab-time")
    assert "ranked" in page.inner_text("#panel-time")
    page.click("#tab-json")
    request, response = (
        json.loads(text) for text in page.locator("#panel-json pre").all_inner_texts()
    )
    assert request["request"]["intent"]["slots"]["raw_input"]["value"] == "do you like music"
    assert response["response"]["shouldEndSession"] is False

    page.locator("#talk .it").last.get_by_role("button", name="Look inside").click()
    page.click("#tab-why")
    assert "about itself: name" in page.inner_text("#panel-why")


def test_silence_brings_the_reprompt_and_then_the_end(visit):
    page = visit()
    launch(page)
    page.clock.run_for(7_000)
    page.keyboard.press("Shift")  # whoever touches the keyboard is not silent
    page.clock.run_for(7_000)
    assert len(bubbles(page)) == 1
    page.clock.run_for(1_100)
    reprompts = {re.sub(r"&amp;", "&", to_speech(text)) for text in phrases.REPROMPT}
    assert answered(page, 2)[-1] in reprompts
    page.clock.run_for(8_100)
    page.wait_for_selector("body[data-state=closed]")
    page.get_by_text("Silence. The session has ended.").wait_for()
    page.click("#inside-toggle")
    page.click("#tab-json")
    assert '"reason": "EXCEEDED_MAX_REPROMPTS"' in page.inner_text("#panel-json")
    assert speak(page, "do you like music?").startswith("Yes, I like jazz"), "it is asked in one go"
    assert "one" not in page.locator(".fault").all_inner_texts()


def test_typing_is_no_silence_and_silence_can_be_left_out(visit):
    page = visit()
    launch(page)
    page.fill("#say", "i am thi")
    page.clock.run_for(30_000)
    assert len(bubbles(page)) == 1
    page.fill("#say", "")
    page.click("#open-settings")
    page.uncheck("#waits")
    page.get_by_role("button", name="Use them").click()
    page.clock.run_for(60_000)
    assert len(bubbles(page)) == 1


def test_two_settings_answer_side_by_side(visit):
    page = visit()
    page.click("#open-settings")
    page.check("#both")
    page.select_option("#lane-b [name=method]", "greedy")
    page.fill("#b-max_length", "2")
    page.get_by_role("button", name="Use them").click()
    launch(page)
    speak(page, "do you like music?")
    first, second = page.locator("#talk li.two").last.locator(".bubble").all_inner_texts()
    assert first.startswith("Yes, I like jazz")
    assert first != second
    assert page.locator("#talk .lane").all_inner_texts()[-1] == "B: method greedy, max length 2"


def test_a_setting_out_of_range_is_said_in_the_dialogue(visit):
    page = visit()
    page.click("#open-settings")
    page.fill("#a-beam_size", "0")
    page.get_by_role("button", name="Use them").click()
    page.locator("#settings-error", has_text="beam_size is 0; it must be 1 or more").wait_for()
    visit.complaints.clear()  # the browser notes the refusal


def test_what_is_saved_is_held_again_here_and_by_the_command(visit, talker, tmp_path):
    page = visit()
    launch(page)
    for said in SAID[:3]:
        speak(page, said)
    page.click("#be-silent")
    answered(page, 5)
    page.click("#be-silent")
    page.wait_for_selector("body[data-state=closed]")
    with page.expect_download() as download:
        page.click("#save")
    saved = tmp_path / "conversation.json"
    download.value.save_as(saved)
    assert [
        turn.get("say", turn.get("end")) for turn in json.loads(saved.read_text())["turns"]
    ] == [
        None,
        *SAID[:3],
        "EXCEEDED_MAX_REPROMPTS",
    ]

    (talk,) = replay.read_talks(saved)
    told = list(replay.replay(replay.Skill(DialogueAgent(talker)), talk))
    assert [one.has_changed for one in told] == [False] * 5

    changed = json.loads(saved.read_text())
    changed["turns"][1]["answer"] = "Something else."
    changed["turns"][2]["expect"] = {"text": "never"}
    saved.write_text(json.dumps(changed))
    page.set_input_files("#file", saved)
    page.get_by_text("5 turns, 1 answers changed, 1 expectations failed.").wait_for()
    assert page.locator("#talk .changed").all_inner_texts() == ["was: Something else."]
    assert page.locator("#talk .under .fault").all_inner_texts() == ["expected 'never'"]
    assert page.locator("#talk .under .kept").count() == 3


def test_a_file_that_is_none_is_one_line(visit, tmp_path):
    page = visit()
    (tmp_path / "x.json").write_text("{")
    page.set_input_files("#file", tmp_path / "x.json")
    page.get_by_text("x.json cannot be read, 400: it is not JSON").wait_for()
    visit.complaints.clear()


def test_another_user_on_a_device_with_a_screen_begins_anew(visit):
    page = visit()
    launch(page)
    page.click("#open-settings")
    page.select_option("#user", "SECOND")
    page.select_option("#locale", "en-GB")
    page.select_option("#interfaces", "Alexa.Presentation.APL")
    page.get_by_role("button", name="Use them").click()
    page.get_by_text("A new conversation.").wait_for()
    assert bubbles(page) == []
    page.fill("#say", "open chatty friend")
    page.press("#say", "Enter")
    answered(page, 1)
    page.click("#inside-toggle")
    page.click("#tab-json")
    request = json.loads(page.locator("#panel-json pre").first.inner_text())
    assert request["session"]["new"] is True
    assert request["session"]["user"]["userId"] == "amzn1.ask.account.SECOND"
    assert request["request"]["locale"] == "en-GB"
    assert request["context"]["System"]["device"]["supportedInterfaces"] == {
        "Alexa.Presentation.APL": {}
    }
