// How it was measured: definitions, simulations, judge, prices, conditions.

function figureName(name) {
  return name.replace(/_/g, " ");
}

function simulationTable() {
  const played = PATHS.flatMap((path, index) => (path.simulated ? [[index, path.simulation]] : []));
  if (!played.length) return null;
  const rows = played.map(([index, about]) => {
    const others = Object.entries(about).filter(([name]) => name !== "source");
    return h("tr", {}, h("th", { scope: "row" }, pathName(index)), h("td", {}, h("dl", { class: "params" }, others.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))))), h("td", {}, about.source));
  });
  const head = h("thead", {}, h("tr", {}, ["Path", "What the local server does", "Where these parameters were published"].map((name) => h("th", { scope: "col" }, name))));
  return tableFigure("What the simulated servers were told to do. Figures of these paths say how the instrument and the client behave, not how the service does.", h("table", { class: "plain" }, head, h("tbody", {}, rows)), "Parameters of simulated servers");
}

function definitions() {
  const given = Object.entries(HEADER.figures || {});
  const told = (text) => (Array.isArray(text) ? String(text.at(-1)) : String(text));
  const list = [
    ["voice to voice", "from the true end of the user\u2019s speech to the first audible sample of the reply, both in the stereo WAV: what the user waits for. Speech that is not labelled ends where the voice has fallen 17 dB below its loudest moment, which neither gain nor noise from 15 dB down moves; people who label a recording agree to some 50 ms"],
    ["answering", "the same to the first audible sample that is no filler such as \u201cone moment\u201d"],
    ...given.map(([name, text]) => [figureName(name), told(text)]),
  ];
  return h("dl", { class: "definitions" }, list.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
}

function judgeText() {
  const judge = HEADER.judge;
  if (!judge) return null;
  return h("div", {}, h("h3", {}, "Judge"), h("p", {}, `Questions about replies were decided by ${judge.model}, with this prompt:`), h("pre", {}, judge.prompt || NONE));
}

function scenarioTexts() {
  const scenarios = HEADER.scenarios || {};
  const named = Array.isArray(scenarios) ? scenarios.map((one) => [one.name, one]) : Object.entries(scenarios);
  if (!named.length) return null;
  const text = (one) => (typeof one === "string" ? one : JSON.stringify(one, null, 2));
  const items = named.map(([name, one]) => h("details", {}, h("summary", {}, name), h("pre", { tabindex: 0 }, text(one))));
  return h("div", {}, h("h3", {}, "Scenarios"), items);
}

function methodSection() {
  const noise = HEADER.noise || {};
  const steady = typeof noise.relative === "number" ? h("p", {}, `A fixed piece of work, timed ${noise.readings} times between the conversations, varied by ${(100 * noise.relative).toFixed(1)} %; differences below that may be the machine\u2019s.`) : null;
  const known = ["started", "interrupted", "left_out", "models", "settings", "variants", "machine", "versions", "noise", "scenarios", "figures", "judge", "simulated", "asked"];
  const other = Object.fromEntries(Object.entries(HEADER).filter(([name]) => !known.includes(name)));
  const asked = Object.fromEntries(Object.entries(HEADER.asked || {}).filter(([name]) => name !== "paths"));
  const blocks = [
    ["Paths", Object.fromEntries(PATHS.map(({ name, label }) => [label, (HEADER.variants || {})[name]]))],
    ["Machine", HEADER.machine],
    ["Noise", HEADER.noise],
    ["Models", HEADER.models],
    ["Versions", HEADER.versions],
    ["Prices", DATA.prices],
    ["Run", { started: HEADER.started, ...other, asked }],
  ].map(([title, value]) => facing(title, value, true));
  const all = facing("Settings", HEADER.settings);
  const settings = all && h("details", {}, h("summary", {}, "All settings"), h("div", { class: "columns" }, all));
  const fair = h("p", {}, "Every path hears the same recording, paced in real time, over a connection that is already open; silence keeps flowing after the utterance. Scenarios and paths take turns in a shuffled order. Latency is read off the stereo WAV, the same way for every path; what a server says of itself stands beside it, and the round trip to it apart.");
  return [fair, definitions(), simulationTable(), steady, judgeText(), scenarioTexts(), h("div", { class: "columns" }, blocks), settings];
}
