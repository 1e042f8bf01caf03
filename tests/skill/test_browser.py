"""The simulator in a real Chromium, which talks to a running server."""

import contextlib
import json
import os
import re
import shutil
import threading
from pathlib import Path

import pytest

from app import Settings, create_app, listen
from dialogue.agent import DialogueAgent
from skill import phrases, replay
from skill.speech import to_speech

CHROMIUM = (
    os.environ.get("CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
AXE = Path(__file__).parent / "clients" / "node_modules" / "axe-core" / "axe.min.js"
SAID = (
    "do you like music?",
    "who do you listen to?",
    "yes",
    "have you seen a good movie?",
    "what's your name",
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        not CHROMIUM,
        reason="Chromium is not there: apt-get install chromium, or name it in CHROMIUM",
    ),
]


@pytest.fixture(scope="module")
def address(talker):
    """Serve the small model as `make run` does."""
    settings = Settings(verify=False, port=0)
    server = listen(create_app(settings, DialogueAgent(talker)), settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}/simulator"
    server.task_dispatcher.shutdown()
    server.asyncore.close_all(server._map)
    thread.join()


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, address):
    """Open the page; what it asked of any host, and what it complained of, is looked at when the
    test is over.
    """
    with contextlib.ExitStack() as opened:
        asked, complaints = [], []

        def visit(before="", **options):
            context = chromium.new_context(
                **{"viewport": {"width": 1280, "height": 800}, **options}
            )
            opened.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.on("request", lambda request: asked.append(request.url))
            page.on(
                "console",
                lambda message: (
                    complaints.append(message.text)
                    if message.type in ("error", "warning")
                    else None
                ),
            )
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.clock.install()
            page.add_init_script(before)
            page.goto(address)
            page.wait_for_selector("body[data-ready]")
            return page

        visit.complaints = complaints
        yield visit
        foreign = [
            url
            for url in asked
            if not url.startswith((address.removesuffix("/simulator"), "blob:"))
        ]
        assert asked, "nothing was watched"
        assert foreign == [], "a request left this machine"
        assert complaints == []


def bubbles(page):
    return page.locator("#talk .it .bubble").all_inner_texts()


def answered(page, count):
    """Wait for so many answers in all, and until it listens, or has closed."""
    page.wait_for_function(
        "count => document.querySelectorAll('#talk li.it').length >= count", arg=count
    )
    page.wait_for_selector("body[data-state=listening], body[data-state=closed]")
    return bubbles(page)


def speak(page, text):
    before = page.locator("#talk li.it").count()
    page.fill("#say", text)
    page.press("#say", "Enter")
    return answered(page, before + 1)[-1]


def launch(page):
    page.click("#begin")
    return answered(page, 1)[-1]


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


def test_all_of_it_by_keyboard_alone(visit):
    page = visit()
    press, focused = page.keyboard.press, lambda: page.evaluate("document.activeElement.id")
    press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(20):
        press("Tab")
        if focused() == "begin":
            break
    press("Enter")
    answered(page, 1)
    assert focused() == "say"
    page.keyboard.type("do you like music?")
    press("Enter")
    assert answered(page, 2)[-1].startswith("Yes, I like jazz")
    for _ in range(30):
        press("Shift+Tab")
        if focused() == "inside-toggle":
            break
    press("Enter")
    assert focused() == "tab-why"
    press("ArrowRight")
    assert focused() == "tab-history"
    assert page.is_visible("#panel-history") and not page.is_visible("#panel-why")
    press("Escape")
    assert not page.is_visible("#inside")
    assert focused() == "inside-toggle"


def test_a_script_in_an_utterance_or_a_file_stays_text(visit, tmp_path):
    page = visit()
    evil = "<img src=x onerror=document.title='gotcha'><script>document.title='gotcha'</script>"
    launch(page)
    speak(page, evil)
    assert page.locator("#talk .me .bubble").last.inner_text() == evil
    page.click("#inside-toggle")
    turns = [{"say": evil, "answer": evil, "expect": {"text": evil}}, {"intent": "<b>no</b>"}]
    (tmp_path / "evil.json").write_text(json.dumps({"turns": turns}))
    page.set_input_files("#file", tmp_path / "evil.json")
    page.get_by_text("2 turns, 1 answers changed, 1 expectations failed.").wait_for()
    assert page.locator("#talk img, #talk script, #inside img, #talk b").count() == 0
    assert page.title() == "Chatty Friend: an Echo in the browser"


def test_a_page_of_another_origin_reaches_nothing(chromium, address, tmp_path):
    """By a form, by fetch, and in a frame."""
    root = address.removesuffix("simulator")
    (tmp_path / "evil.html").write_text(
        f"""<body><iframe src="{address}"></iframe><form method=post enctype=text/plain action="{root}"><input name='{{"version":"1.0","request":{{"type":"LaunchRequest"}},"x":"' value='"}}'></form>"""
    )
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(f"file://{tmp_path}/evil.html")
        tried = page.evaluate(
            """async (root) => {
                const outcomes = [];
                for (const path of ["", "simulator", "simulator/about"]) {
                    try { outcomes.push((await fetch(root + path, {method: path ? "GET" : "POST", body: path ? undefined : "{}"})).status) }
                    catch { outcomes.push("refused") }
                }
                return outcomes;
            }""",
            root,
        )
        assert tried == ["refused"] * 3
        assert not any(frame.locator("#begin").count() for frame in page.frames[1:])
        with page.expect_navigation():
            page.evaluate("document.forms[0].submit()")
        assert "no page of another origin is answered" in page.inner_text("body")
    finally:
        context.close()


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


VOICES = """
    window.spoken = [];
    const voice = (name, lang, localService) => ({name, lang, localService});
    Object.defineProperty(window, "speechSynthesis", {value: {
        getVoices: () => [voice("cloud", "en-US", false), voice("here", "en-US", true)],
        cancel: () => {},
        speak: (utterance) => {
            window.spoken.push([performance.now(), utterance.text, utterance.voice.name]);
            utterance.onend();
        },
    }});
    window.SpeechSynthesisUtterance = class { constructor(text) { this.text = text } };
"""


def test_it_speaks_with_a_voice_of_this_machine_and_keeps_the_pauses(visit):
    page = visit(before=VOICES)
    launch(page)
    page.fill("#say", "i love pizza")
    page.press("#say", "Enter")
    page.locator("#talk li.it").nth(1).wait_for()
    page.clock.run_for(2_000)
    answered(page, 2)
    said = page.evaluate("window.spoken")
    assert {voice for _, _, voice in said} == {"here"}
    shown = bubbles(page)
    assert " ".join(text for _, text, _ in said) == " ".join(shown)
    assert len(said) > len(shown), "a question was added after a pause"
    assert said[-1][0] - said[-2][0] >= 300
    page.click("#speak")
    speak(page, "do you like music?")
    assert len(page.evaluate("window.spoken")) == len(said)


RECOGNISER = """
    window.started = [];
    window.SpeechRecognition = class {
        static available() { return Promise.resolve("%s") }
        start() {
            window.started.push(Boolean(this.processLocally));
            setTimeout(() => this.onresult({results: [[{transcript: "Do you like music?"}]]}), 100);
        }
        stop() {}
    };
"""


@pytest.mark.parametrize(
    ("state", "told", "locally"),
    [("available", "does not leave it", True), ("unavailable", "sends the audio", False)],
)
def test_the_microphone_is_off_until_one_has_read_where_the_audio_goes(visit, state, told, locally):
    page = visit(before=RECOGNISER % state)
    launch(page)
    page.click("#microphone")
    page.locator("#consent[open]").wait_for()
    assert told in page.inner_text("#consent-text")
    page.get_by_role("button", name="Leave it off").click()
    assert page.get_attribute("#microphone", "aria-pressed") == "false"
    assert page.evaluate("window.started") == []
    page.click("#microphone")
    page.get_by_role("button", name="Turn the microphone on").click()
    page.locator("body[data-state=hearing]").wait_for()
    page.clock.run_for(200)
    assert answered(page, 2)[-1].startswith("Yes, I like jazz")
    assert page.evaluate("window.started") == [locally]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_at_any_width(chromium, address, scheme):
    if not AXE.exists():
        pytest.skip(
            "the npm clients are not there: npm install --no-package-lock --prefix "
            "tests/skill/clients"
        )
    context = chromium.new_context(color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")
    try:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        page.add_script_tag(content=AXE.read_text(encoding="utf-8"))

        def look():
            found = page.evaluate("axe.run()")
            assert found["passes"], "nothing was looked at"
            return [
                (one["id"], [node["html"][:120] for node in one["nodes"]])
                for one in found["violations"]
                if one["impact"] in ("serious", "critical")
            ]

        assert look() == []
        launch(page)
        speak(page, SAID[0])
        page.click("#inside-toggle")
        for tab in ("why", "history", "time", "json"):
            page.click(f"#tab-{tab}")
            assert look() == [], tab
        page.click("#inside-close")
        page.click("#open-settings")
        page.check("#both")
        assert look() == []
        page.get_by_role("button", name="Cancel").click()
        page.set_viewport_size({"width": 375, "height": 700})
        assert look() == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, (
            "nothing is cut off at a phone's width"
        )
    finally:
        context.close()
