"""The simulator by keyboard, by voice and with a screen reader, and closed to other pages."""

import json

import pytest

from .conftest import AXE, IN_CHROMIUM, SAID, answered, bubbles, launch, speak

pytestmark = IN_CHROMIUM


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
        f"""<body><iframe src="{address}"></iframe>
        <form method=post enctype=text/plain action="{root}"><input
        name='{{"version":"1.0","request":{{"type":"LaunchRequest"}},"x":"' value='"}}'></form>"""
    )
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(f"file://{tmp_path}/evil.html")
        tried = page.evaluate(
            """async (root) => {
                const outcomes = [];
                for (const path of ["", "simulator", "simulator/about"]) {
                    const request = path ? {method: "GET"} : {method: "POST", body: "{}"};
                    try { outcomes.push((await fetch(root + path, request)).status) }
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
