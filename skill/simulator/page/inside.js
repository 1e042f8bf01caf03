// What happened to a turn, laid out: why this answer, what the history looks like, where the time went, the JSON.

const STAGES = {
  safety: "safety and form of the words", hear: "heard: into the history", search: "searched", recall: "remembered", rank: "ranked",
  choose: "chosen", say: "said: into the history", note: "noted in the conversation", agent: "answered",
};
const WHY = {
  "": "said", ranker: "ranked lower", repetition: "repeats itself", "block list": "block list", safety: "safety",
  empty: "no words", "said before": "said before", "a life": "claims a life",
  "asks again": "asks again", "said before, a life": "said before",
};
const SOURCES = {
  safety: "A fixed answer of safety", identity: "A fixed answer about itself",
  repair: "An apology: the last reply missed", agent: "The model's answer",
  late: "No answer in time: a fixed sentence", skill: "The skill itself answered",
};

// Make an element. Text is set as text alone: whatever somebody said stays text.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const number = (value, digits = 2) => (typeof value === "number" ? value.toFixed(digits) : "");

export function show(record, earlier) {
  document.querySelector("#panel-why").replaceChildren(...why(record));
  document.querySelector("#panel-history").replaceChildren(...history(record, earlier));
  document.querySelector("#panel-time").replaceChildren(...time(record));
  document.querySelector("#panel-json").replaceChildren(
    contract(record.inside), make("h3", {}, "Request"), make("pre", { tabIndex: 0 }, JSON.stringify(record.request, null, 2)),
    make("h3", {}, "Response"), make("pre", { tabIndex: 0 }, JSON.stringify(record.response, null, 2)),
  );
}

function contract(inside) {
  const kept = inside.contract.length === 0;
  return make(
    "div", { className: "verdict" },
    make("span", { className: kept ? "kept" : "fault", ariaHidden: "true" }, kept ? "✓" : "✗"),
    make("p", {}, make("strong", {}, kept ? "The contract is kept" : "The contract is broken"),
      kept ? "Alexa would take this response." : inside.contract.join("; ")),
  );
}

function why({ inside }) {
  const reason = inside.reason ? `: ${inside.reason}` : "";
  const written = inside.written ? `The model read it as “${inside.written}”.` : "";
  const head = make(
    "div", { className: "verdict" },
    make("p", {}, make("strong", {}, `${SOURCES[inside.by] ?? inside.by}${reason}`), written || "No reply was searched for."),
  );
  if (!inside.candidates.length) return [head, contract(inside)];
  const extra = [...new Set(inside.candidates.flatMap((one) => Object.keys(one)))]
    .filter((name) => !["text", "why", "score", "log_prob", "similarity", "fit", "blank", "tokens"].includes(name) && inside.candidates.some((one) => typeof one[name] === "number"));
  const rows = inside.candidates.map((one) =>
    make(
      "tr", { className: one.why ? "" : "said" },
      make("td", {}, one.text),
      make("td", {}, make("span", { className: `why ${one.why ? one.why.split(" ").at(-1) : "said"}` }, WHY[one.why] ?? one.why)),
      make("td", { className: "number" }, number(one.score)),
      make("td", { className: "number optional" }, number(one.log_prob)),
      make("td", { className: "number optional" }, number(one.similarity)),
      make("td", { className: "number optional" }, number(one.fit)),
      ...extra.map((name) => make("td", { className: "number optional" }, number(one[name]))),
    ));
  const columns = [["reply", ""], ["", ""], ["score", "number"], ["log p", "number optional"], ["remembered", "number optional"], ["stock", "number optional"],
    ...extra.map((name) => [name, "number optional"])];
  return [
    head,
    make(
      "table", {},
      make("caption", {}, `${rows.length} candidates, best first; one may be passed over although it comes first.`),
      make("thead", {}, make("tr", {}, ...columns.map(([name, kind]) => make("th", { scope: "col", className: kind }, name || "why")))),
      make("tbody", {}, ...rows),
    ),
    contract(inside),
  ];
}

// Draw numbers as cells: blue below zero, orange above, the ground at zero.
function draw(rows, width, scale) {
  const canvas = make("canvas", { width, height: rows.length });
  const context = canvas.getContext("2d");
  rows.forEach((row, y) => row.forEach((value, x) => {
    const strength = Math.min(1, Math.abs(value) / scale);
    context.fillStyle = value < 0 ? `rgba(47, 107, 255, ${strength})` : `rgba(242, 148, 30, ${strength})`;
    context.fillRect(x, y, 1, 1);
  }));
  return canvas;
}

function history(record, earlier) {
  const seen = [...earlier, record].map((one) => one.inside.history).filter((numbers) => numbers.length);
  if (!record.inside.history.length) {
    return [make("p", { className: "soft" }, "This answer has left no trace in the history vector: no model was asked.")];
  }
  const now = seen.at(-1);
  const before = seen.at(-2) ?? now.map(() => 0);
  const change = now.map((value, at) => value - (before[at] ?? 0));
  const mean = change.reduce((sum, value) => sum + Math.abs(value), 0) / change.length;
  const most = Math.max(...change.map(Math.abs), 1e-6);
  const strips = draw(seen, now.length, 1);
  strips.style.height = `${Math.max(18, 14 * seen.length)}px`;
  strips.setAttribute("role", "img");
  strips.ariaLabel = `The history vector after each of ${seen.length} answers, a row each`;
  const width = Math.min(32, now.length);
  const grid = Array.from({ length: Math.ceil(change.length / width) }, (_, row) => change.slice(row * width, (row + 1) * width));
  const changes = draw(grid, width, most);
  changes.style.aspectRatio = `${width} / ${grid.length}`;
  changes.setAttribute("role", "img");
  changes.ariaLabel = `Its change by this turn: ${number(mean, 3)} on average, ${number(most)} at most`;
  return [
    make("h3", {}, "From turn to turn"), strips,
    make("p", { className: "legend" }, make("span", {}, "first answer above, this one below"), make("span", {}, `${now.length} numbers, −1 blue to 1 orange`)),
    make("h3", {}, "Changed by this turn"), changes,
    make("p", { className: "soft", id: "change" }, `${number(mean, 3)} on average, ${number(most)} at most.`),
  ];
}

function time({ inside, seconds }) {
  const known = inside.seconds.reduce((sum, [, taken]) => sum + taken, 0);
  const stages = [...inside.seconds.map(([stage, taken]) => [STAGES[stage] ?? stage, taken]),
    ["the rest: Alexa's SDK, SSML, HTTP", Math.max(0, seconds - known)]];
  const bar = make("div", { className: "timeline", ariaHidden: "true" });
  stages.forEach(([, taken], at) => {
    const part = make("span", { className: `stage-${at % 7}` });
    part.style.width = `${(100 * taken) / Math.max(seconds, known)}%`;
    bar.append(part);
  });
  const rows = stages.map(([stage, taken], at) =>
    make("tr", {}, make("td", {}, make("span", { className: `key stage-${at % 7}`, ariaHidden: "true" }), stage),
      make("td", { className: "number" }, `${(1000 * taken).toFixed(1)} ms`)));
  return [
    make("h3", {}, `${(1000 * seconds).toFixed(0)} ms from request to response`), bar,
    make("table", {}, make("caption", { className: "hidden" }, "Time by stage"),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "stage"), make("th", { scope: "col", className: "number" }, "time"))),
      make("tbody", {}, ...rows)),
  ];
}
