// The page: an Echo that somebody talks to. Its state lives here, and is gone when the page is closed.

import { about, Lane, parts, readFile, Refused, spoken } from "/simulator/echo.js";
import { make, show } from "/simulator/inside.js";
import { hush, listen, speak, whereAudioGoes } from "/simulator/voice.js";

const SILENCE = 8000; // milliseconds that an Echo listens
const find = (selector) => document.querySelector(selector);
const [talk, say, status] = [find("#talk"), find("#say"), find("#status")];
const COMMON = ["method", "beam_size", "temperature", "top_p", "top_k", "max_length", "ranker", "recall", "seed"];

const who = { locale: "en-US", user: "amzn1.ask.account.FIRST", interfaces: [] };
const choices = [{ settings: {}, checkpoint: "" }, { settings: {}, checkpoint: "" }]; // of each lane
let [side, waits, voiced, agreed] = [false, true, true, false];
let [lanes, done, busy, selected, known, reprompted, clock] = [[], [], false, null, null, false, null];

// --- the device ----------------------------------------------------------------------------------------------------------

const SAYS = {
  closed: "Closed. Nothing listens until you open it.", listening: "Listening.", thinking: "Thinking.",
  speaking: "Speaking.", hearing: "The microphone is on. Say something.",
};

function become(state) {
  document.body.dataset.state = state;
  status.textContent = SAYS[state];
}

function listenOn() {
  stopClock();
  become(lanes[0]?.isOpen ? "listening" : "closed");
  if (!lanes[0]?.isOpen || !waits) return;
  const begun = Date.now();
  const ring = find(".ring");
  const tick = setInterval(() => {
    ring.style.setProperty("--left", `${Math.max(0, 100 - (100 * (Date.now() - begun)) / SILENCE)}%`);
  }, 200);
  clock = { tick, end: setTimeout(beSilent, SILENCE) };
}

function stopClock() {
  if (clock) {
    clearInterval(clock.tick);
    clearTimeout(clock.end);
  }
  clock = null;
  find(".ring").style.removeProperty("--left");
}

// Whoever types, reads or presses something is not silent.
for (const event of ["pointerdown", "keydown", "wheel"]) {
  document.addEventListener(event, () => clock && listenOn(), { passive: true });
}
say.addEventListener("input", () => (say.value ? stopClock() : !busy && listenOn()));

async function beSilent() {
  if (busy || !lanes[0]?.isOpen) return;
  stopClock();
  const reprompt = lanes[0].records.at(-1)?.response.response.reprompt?.outputSpeech;
  if (!reprompted && reprompt) {
    reprompted = true;
    addNote("Silence. It asks once more:");
    addAnswer([{ lane: lanes[0], text: spoken(reprompt) }]);
    await sound(reprompt);
    listenOn();
    return;
  }
  await perform({ end: "EXCEEDED_MAX_REPROMPTS" }, { shown: null });
}

async function sound(speech) {
  if (!voiced || !speech) return;
  become("speaking");
  await speak(parts(speech), who.locale);
}

// --- a turn --------------------------------------------------------------------------------------------------------------

async function perform(turn, { shown, expect, recorded } = {}) {
  if (busy) return;
  busy = true;
  stopClock();
  hush();
  unveil();
  reprompted = false;
  if (!lanes.length) await begin();
  const mine = shown === null ? null : addMine(shown ?? turn.say ?? `(${turn.intent ?? turn.end})`);
  become("thinking");
  try {
    const answers = [];
    for (const lane of lanes) {
      const record = await lane.send(turn);
      answers.push({ lane, record, text: record.text });
    }
    const first = answers[0].record;
    if (mine) tellHeard(mine, first.request.request);
    done.push({ ...turn, answer: first.text });
    if (first.text) addAnswer(answers);
    const looked = Promise.all(answers.map(({ lane, record }) => lane.look(record, expect))).then(() => {
      answers.forEach(({ lane, record }, at) => tellMore(record, lane, at === 0 ? recorded : undefined));
      if (turn.end) addNote("Silence. The session has ended.");
      else if (!lanes[0].isOpen) addNote("The session has ended.");
      select(first, lanes[0]);
    });
    await Promise.all([looked, sound(first.response.response.outputSpeech)]);
  } catch (error) {
    addNote(error instanceof Refused ? `The skill refused it, ${error.message}` : "The skill does not answer. Is it still running?", "fault");
  }
  busy = false;
  if (!say.value) listenOn();
  else become(lanes[0].isOpen ? "listening" : "closed");
}

async function begin(base) {
  for (const lane of lanes.filter((one) => one.isOpen)) await lane.send({ end: "USER_INITIATED" });
  [done, selected, reprompted] = [[], null, false];
  talk.replaceChildren();
  const count = side ? 2 : 1;
  lanes = Array.from({ length: count }, (_, at) => new Lane(known.watched, { ...who, base: at === 0 ? base : undefined }));
  for (const [at, lane] of lanes.entries()) {
    const { settings, checkpoint } = choices[at];
    lane.label = count > 1 ? named(choices[at], at) : "";
    if (Object.keys(settings).length || checkpoint) await lane.choose(settings, checkpoint);
  }
}

function named({ settings, checkpoint }, at) {
  const told = Object.entries(settings).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  return `${"AB"[at]}: ${[checkpoint, ...told].filter(Boolean).join(", ") || "as it is served"}`;
}

// --- the conversation on the page ------------------------------------------------------------------------------------

function unveil() {
  document.body.classList.remove("fresh");
  find("#welcome").hidden = true;
  find("#log").hidden = false;
}

function add(item) {
  talk.append(item);
  find("#log").scrollTop = find("#log").scrollHeight;
  return item;
}

const addNote = (text, kind = "") => add(make("li", { className: `note ${kind}` }, text));
const addMine = (text) => add(make("li", { className: "me" }, make("span", { className: "hidden" }, "You: "), make("div", { className: "bubble" }, text)));

function tellHeard(item, request) {
  const slot = request.intent?.slots?.raw_input?.value;
  const name = request.intent?.name ?? request.type;
  const word = item.querySelector(".bubble").textContent;
  const heard = name === "ChatIntent" ? slot ?? "nothing understood" : slot ? `${name}, ${slot}` : name;
  if (heard !== word) item.append(make("span", { className: "heard" }, `heard as: ${heard}`));
}

function addAnswer(answers) {
  const bubbles = answers.map(({ lane, record, text }) => {
    const under = make("div", { className: "under" });
    if (record) record.under = under;
    return make("div", {}, lane.label ? make("p", { className: "lane" }, lane.label) : null, make("div", { className: "bubble" }, text), under);
  });
  const item = make("li", { className: answers.length > 1 ? "it two" : "it" }, make("span", { className: "hidden" }, "Chatty Friend: "));
  if (answers.length > 1) item.append(make("div", { className: "pair" }, ...bubbles));
  else item.append(...bubbles);
  add(item);
}

// Write under an answer what is known once one has looked inside.
function tellMore(record, lane, recorded) {
  if (!record.under) return;
  record.look = make("button", { type: "button" }, "Look inside");
  record.look.addEventListener("click", () => {
    select(record, lane);
    toggleInside(true);
  });
  const broken = record.inside.contract.map((rule) => make("span", { className: "fault" }, rule));
  record.under.append(make("span", {}, `${Math.round(1000 * record.seconds)} ms`), record.look, ...broken);
  if (recorded) record.under.append(...judged(record, recorded));
  find("#log").scrollTop = find("#log").scrollHeight;
}

function judged(record, recorded) {
  const faults = record.inside.faults.map((fault) => make("span", { className: "fault" }, fault));
  if (recorded.answer === null || recorded.answer === undefined) return faults;
  const same = recorded.answer === record.text;
  return [make("span", { className: same ? "kept" : "changed" }, same ? "as recorded" : `was: ${recorded.answer}`), ...faults];
}

// --- inside ----------------------------------------------------------------------------------------------------------

function select(record, lane) {
  selected = { record, lane };
  if (find("#inside").hidden) return;
  for (const button of talk.querySelectorAll(".under button")) button.removeAttribute("aria-current");
  record.look?.setAttribute("aria-current", "true");
  find("#which").textContent = record.text ? `“${record.text.slice(0, 48)}${record.text.length > 48 ? "…" : ""}”` : "";
  show(record, lane.records.slice(0, lane.records.indexOf(record)));
}

function toggleInside(open) {
  find("#inside").hidden = !open;
  find("#inside-toggle").ariaExpanded = String(open);
  if (open && selected) select(selected.record, selected.lane);
  else if (open) find("#panel-why").replaceChildren(make("p", { className: "soft" }, "Say something first; what happens then is shown here."));
  if (open) find('[role="tab"][aria-selected="true"]').focus();
  else find("#inside-toggle").focus();
}

const tabs = [...document.querySelectorAll('[role="tab"]')];

function choose(tab) {
  for (const one of tabs) {
    one.ariaSelected = String(one === tab);
    one.tabIndex = one === tab ? 0 : -1;
    find(`#${one.getAttribute("aria-controls")}`).hidden = one !== tab;
  }
  tab.focus();
}

tabs.forEach((tab, at) => {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) choose(tabs[(at + step + tabs.length) % tabs.length]);
  });
});
find("#inside-toggle").addEventListener("click", () => toggleInside(find("#inside").hidden));
find("#inside-close").addEventListener("click", () => toggleInside(false));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !find("#inside").hidden && !document.querySelector("dialog[open]")) toggleInside(false);
});

// --- what one can press ------------------------------------------------------------------------------------------------

find("#composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = say.value.trim();
  if (busy || (!text && lanes[0]?.isOpen)) return;
  say.value = "";
  if (text) await perform({ say: text }, { shown: text });
  else await perform({ say: null }, { shown: `Alexa, open ${known.name}` });
});
find("#begin").addEventListener("click", async () => {
  say.focus();
  await perform({ say: null }, { shown: `Alexa, open ${known.name}` });
});
for (const chip of document.querySelectorAll("[data-say]")) {
  chip.addEventListener("click", () => perform({ say: chip.dataset.say }, { shown: chip.dataset.say === "?" ? "(mumble)" : chip.dataset.say }));
}
find("#be-silent").addEventListener("click", beSilent);
find("#speak").addEventListener("click", () => {
  voiced = !voiced;
  find("#speak").ariaPressed = String(voiced);
  if (!voiced) hush();
});

// --- the microphone ----------------------------------------------------------------------------------------------------

let hearing = null;
find("#microphone").addEventListener("click", async () => {
  if (hearing) return hearing.stop();
  const where = await whereAudioGoes(who.locale);
  if (!where) return addAndUnveil("This browser recognises no speech. Type instead; it is put into the form that Alexa's recogniser gives.");
  if (!agreed) {
    find("#consent-text").textContent = where === "here"
      ? "Your speech is recognised on this machine. The audio does not leave it, and nothing is kept."
      : "This browser recognises no speech on this machine: it sends the audio to its maker (Chrome to Google, Edge to Microsoft, Safari to Apple), who turns it into text under terms of their own. The skill gets the text alone.";
    find("#consent").returnValue = "no";
    find("#consent").showModal();
    await new Promise((closed) => find("#consent").addEventListener("close", closed, { once: true }));
    if (find("#consent").returnValue !== "yes") return undefined;
    agreed = true;
  }
  hush();
  stopClock();
  become("hearing");
  find("#microphone").ariaPressed = "true";
  try {
    hearing = listen(who.locale, { locally: where === "here" });
    const text = await hearing.heard;
    if (text) await perform({ say: text }, { shown: text });
  } catch (error) {
    addAndUnveil(`The microphone gave nothing: ${error.message}.`);
  } finally {
    hearing = null;
    find("#microphone").ariaPressed = "false";
    if (!busy) listenOn();
  }
  return undefined;
});

function addAndUnveil(text) {
  unveil();
  addNote(text);
}

// --- save and replay -----------------------------------------------------------------------------------------------------

find("#save").addEventListener("click", () => {
  if (!done.length) return addAndUnveil("There is nothing to save yet.");
  const settings = choices[0].settings;
  const file = {
    locale: lanes[0].who.locale, user: lanes[0].who.user, session: lanes[0].base,
    ...(Object.keys(settings).length ? { settings } : {}), turns: done,
  };
  const link = make("a", { href: URL.createObjectURL(new Blob([`${JSON.stringify(file, null, 2)}\n`], { type: "application/json" })), download: "conversation.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  return addNote("Saved as conversation.json. python -m skill.replay holds it again.");
});
find("#replay").addEventListener("click", () => find("#file").click());
find("#file").addEventListener("change", async () => {
  const [file] = find("#file").files;
  find("#file").value = "";
  if (!file || busy) return;
  unveil();
  try {
    for (const recorded of await readFile(file.name, await file.text())) await hold(recorded);
  } catch (error) {
    addNote(`${file.name} cannot be read, ${error.message}`, "fault");
  }
});

async function hold(recorded) {
  [who.locale, who.user] = [recorded.locale, recorded.user];
  choices[0].settings = recorded.settings;
  await begin(recorded.session.startsWith(known.watched) ? recorded.session : undefined);
  addNote("Held again:");
  let [changed, failed] = [0, 0];
  for (const turn of recorded.turns) {
    await perform(turn.do, { shown: turn.shown, expect: turn.expect, recorded: turn });
    const record = lanes[0].records.at(-1);
    failed += record.inside.faults.length;
    changed += Number(turn.answer !== null && turn.answer !== record.text);
  }
  addNote(`${recorded.turns.length} turns, ${changed} answers changed, ${failed} expectations failed.`, failed ? "fault" : "kept");
}

// --- settings ------------------------------------------------------------------------------------------------------------

function field(lane, setting) {
  const input = setting.choices.length
    ? make("select", {}, ...setting.choices.map((value) => make("option", { value }, value)))
    : make("input", { type: "number", step: setting.whole ? "1" : "any", placeholder: String(setting.default) });
  [input.name, input.id, input.title] = [setting.name, `${lane}-${setting.name}`, setting.help];
  return make("label", {}, setting.name.replaceAll("_", " "), input);
}

function layOut(fieldset, lane) {
  const options = [["", "the one that is served"], ...known.checkpoints.map((name) => [name, name])].map(([value, text]) => make("option", { value }, text));
  const checkpoint = make("select", { name: "checkpoint" }, ...options);
  const isCommon = ({ name }) => COMMON.includes(name);
  const fields = (settings) => settings.map((one) => field(lane, one));
  fieldset.append(
    make("div", { className: "grid" }, make("label", {}, "checkpoint", checkpoint), ...fields(known.settings.filter(isCommon))),
    make("details", {}, make("summary", {}, "All settings"), make("div", { className: "grid" }, ...fields(known.settings.filter((one) => !isCommon(one))))),
  );
}

function fill(fieldset, { settings, checkpoint }) {
  for (const input of fieldset.querySelectorAll("[name]")) {
    const setting = known.settings.find(({ name }) => name === input.name);
    if (!setting) input.value = checkpoint;
    else input.value = settings[input.name] ?? (setting.choices.length ? setting.default : "");
  }
}

function chosen(fieldset) {
  const settings = {};
  for (const input of fieldset.querySelectorAll("[name]")) {
    const setting = known.settings.find(({ name }) => name === input.name);
    if (!setting || input.value === "") continue;
    const value = setting.choices.length ? input.value : Number(input.value);
    if (value !== setting.default) settings[input.name] = value;
  }
  return { settings, checkpoint: fieldset.querySelector("[name=checkpoint]").value };
}

find("#open-settings").addEventListener("click", () => {
  stopClock();
  find("#user").value = who.user.endsWith("SECOND") ? "SECOND" : "FIRST";
  find("#locale").value = who.locale;
  find("#interfaces").value = who.interfaces[0] ?? "";
  [find("#waits").checked, find("#both").checked] = [waits, side];
  find("#lane-b").hidden = !side;
  ["#lane-a", "#lane-b"].forEach((lane, at) => fill(find(lane), choices[at]));
  find("#settings-error").textContent = "";
  find("#settings").showModal();
});
find("#both").addEventListener("change", () => (find("#lane-b").hidden = !find("#both").checked));
find("#defaults").addEventListener("click", () => ["#lane-a", "#lane-b"].forEach((lane) => fill(find(lane), { settings: {}, checkpoint: "" })));
find("#settings-cancel").addEventListener("click", () => find("#settings").close());
find("#settings").addEventListener("close", () => !busy && listenOn());
find("#settings-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = [chosen(find("#lane-a")), chosen(find("#lane-b"))];
  const both = find("#both").checked;
  const now = { locale: find("#locale").value, user: `amzn1.ask.account.${find("#user").value}`, interfaces: find("#interfaces").value ? [find("#interfaces").value] : [] };
  try {
    const probes = asked.slice(0, both ? 2 : 1);
    for (const [at, { settings, checkpoint }] of probes.entries()) {
      const lane = lanes[at] ?? new Lane(known.watched, now);
      await lane.choose(settings, checkpoint);
    }
  } catch (error) {
    find("#settings-error").textContent = error.message;
    return;
  }
  const anew = both !== side || JSON.stringify(now) !== JSON.stringify(who);
  waits = find("#waits").checked;
  [choices[0], choices[1], side] = [...asked, both];
  Object.assign(who, now);
  find("#settings").close();
  if (anew && lanes.length) {
    await begin();
    unveil();
    addNote("A new conversation. Open it, or just talk.");
    listenOn();
  } else {
    lanes.forEach((lane, at) => (lane.label = lanes.length > 1 ? named(choices[at], at) : ""));
    if (lanes.length) addNote(`From here on ${named(choices[0], 0).slice(3)}.`);
  }
});

// --- begin -----------------------------------------------------------------------------------------------------------------

document.body.classList.add("fresh");
known = await about();
find("#locale").append(...known.locales.map((locale) => make("option", { value: locale }, locale)));
layOut(find("#lane-a"), "a");
layOut(find("#lane-b"), "b");
document.body.dataset.ready = "true";
