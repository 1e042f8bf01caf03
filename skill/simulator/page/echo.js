// What the page sends: to the skill's own POST / as an Echo does, and to /simulator what an Echo has no words for.

export class Refused extends Error {}

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Refused(`${answer.status}: ${(await answer.text()).trim().slice(0, 300)}`);
  return answer.json();
}

export const about = async () => (await fetch("/simulator/about")).json();
export const readFile = (name, text) => post("/simulator/read", { name, text });

// Return what a speech says, without marks, as the server's device.spoken does.
export function spoken(speech) {
  const text = (speech?.ssml ?? speech?.text ?? "").replace(/<[^>]+>/g, " ");
  return text.replace(/&gt;/g, ">").replace(/&lt;/g, "<").replace(/&amp;/g, "&").split(/\s+/).filter(Boolean).join(" ");
}

// Return the parts of a speech, and the pause in milliseconds after each.
export function parts(speech) {
  const found = [];
  const pieces = (speech?.ssml ?? speech?.text ?? "").split(/<break time="(\d+)ms"\s*\/>/);
  for (let at = 0; at < pieces.length; at += 2) {
    const text = spoken({ text: pieces[at] });
    if (text) found.push({ text, pause: Number(pieces[at + 1] ?? 0) });
  }
  return found;
}

// One session with the skill after the other, under one name.
export class Lane {
  constructor(watched, { locale, user, interfaces, base }) {
    this.base = base ?? watched + crypto.randomUUID();
    this.number = 1;
    this.who = { locale, user, interfaces };
    this.session = { id: this.base, ...this.who };
    this.said = [];
    this.records = [];
  }

  get isOpen() {
    return Boolean(this.session.is_open);
  }

  choose(settings, checkpoint) {
    return post("/simulator/settings", { session: this.base, settings, checkpoint });
  }

  // Do one turn; return what was sent, and what came back.
  async send(turn) {
    const request = await post("/simulator/request", { session: this.session, turn });
    const begun = performance.now();
    const response = await post("/", request);
    const seconds = (performance.now() - begun) / 1000;
    return { turn, request, response, seconds, text: spoken(response.response.outputSpeech), inside: null };
  }

  // Ask what happened inside, and where the session is now; until then there is no next turn.
  async look(record, expect = {}) {
    const { request, response } = record;
    const wasOpen = this.isOpen || Boolean(request.session?.new);
    record.inside = await post("/simulator/inside", { session: this.session, request, response, expect, before: this.said });
    this.said.push(record.text);
    this.records.push(record);
    this.session = record.inside.session;
    if (wasOpen && !this.isOpen) {
      this.number += 1; // what comes next is said to a new session
      this.session = { id: `${this.base}.${this.number}`, ...this.who };
    }
  }
}
