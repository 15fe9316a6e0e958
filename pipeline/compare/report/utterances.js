// Every utterance in a row; it opens what each path made of it, and all waterfalls on one axis.

const COLUMN_PATHS = PATHS.slice(0, 4);

function turnsOf(row) {
  return row.turns.map((id) => DATA.turns[id]);
}

function turnOf(row, name) {
  return turnsOf(row).find((turn) => turn.path === name);
}

function statusOf(turn) {
  return turn.status === "ok" && turn.wav_ms === null ? "not heard" : turn.status;
}

/** What a turn may be filtered by. */
function standing(turn) {
  const checks = turn.checks.map((check) => check.met);
  return [statusOf(turn), checks.includes(false) ? "check not met" : null, checks.includes(null) ? "check undecided" : null].filter(Boolean);
}

function checkCount(turn) {
  const decided = turn.checks.filter((check) => check.met !== null);
  const met = decided.filter((check) => check.met).length;
  return decided.length ? h("span", { class: met < decided.length ? "tally bad" : "tally" }, `${met} of ${plural(decided.length, "check", "checks")}`) : null;
}

function pathCell(row, name) {
  const turn = turnOf(row, name);
  if (!turn) return NONE;
  const status = statusOf(turn);
  return [status === "ok" ? `${ms(turn.wav_ms)}` : h("span", { class: "bad" }, status), checkCount(turn)];
}

/** As on a phone, where there is no room for columns: each path's latency. */
function underUtterance(row) {
  return [`\u201c${row.said || "words not known"}\u201d`, ...turnsOf(row).map((turn) => h("span", { class: "line" }, `${turn.title}: ${statusOf(turn) === "ok" ? `${ms(turn.wav_ms)} ms` : statusOf(turn)}`))];
}

function repeatText(row) {
  return row.repeat ? String(row.repeat) : "warm-up";
}

function utteranceSection() {
  if (!DATA.rows.length) return [h("p", {}, "No utterance was played.")];
  const columns = [
    { key: "scenario", label: "Utterance", opens: true, cell: (row) => `${row.scenario} #${row.number}` },
    { key: "said", label: "Said", wide: true, text: true },
    { key: "topic", label: "Topic", wide: true },
    { key: "repeat", label: "Rep.", number: true, title: "Repetition", cell: repeatText },
    ...COLUMN_PATHS.map((path) => ({ key: `path ${path.name}`, label: path.label, wide: true, number: true, title: "Voice-to-voice latency by the WAV (ms)", value: (row) => turnOf(row, path.name)?.wav_ms ?? null, cell: (row) => pathCell(row, path.name) })),
  ];
  const values = (of) => [...new Set(DATA.rows.map(of))];
  const statuses = [...new Set(DATA.turns.flatMap(standing))];
  const labels = Object.fromEntries(PATHS.map((path) => [path.label, path.name]));
  const about = (row, [path]) => turnsOf(row).filter((turn) => !path || turn.path === labels[path]);
  const list = listing({
    rows: DATA.rows,
    label: "All utterances",
    noun: ["utterance", "utterances"],
    columns,
    id: (row) => `row-${row.id}`,
    holds: (row, turn) => row.turns.includes(turn),
    under: underUtterance,
    detail: utteranceDetail,
    filters: [
      { label: "Path", options: PATHS.map((path) => path.label), fits: (row, _, all) => about(row, all).length > 0 },
      { label: "Scenario", options: values((row) => row.scenario), fits: (row, name) => row.scenario === name },
      { label: "Status", options: statuses, fits: (row, status, all) => about(row, all).some((turn) => standing(turn).includes(status)) },
    ],
    words: (row) => [row.scenario, row.said, ...turnsOf(row).flatMap((turn) => [turn.transcript, turn.reply, turn.reason, ...turn.calls.map((call) => call.name)])].join("\n"),
    hint: "words, tools",
  });
  lists.push(list);
  const more = PATHS.length > COLUMN_PATHS.length ? ` The first ${COLUMN_PATHS.length} paths have columns; the others are in the rows.` : "";
  return [h("p", {}, stamped(), `Latencies are in ms, by the WAV. A row opens what each path heard, said and did, both sides of its sound, and the waterfalls of all paths on one axis.${more}`), list.node];
}

function utteranceDetail(row) {
  const turns = turnsOf(row);
  const players = [];
  const fall = waterfall(turns, `${row.scenario} turn ${row.number}, repeat ${repeatText(row)}`, (index, at) => players[index].seek(at));
  players.push(...turns.map((turn, index) => player(turn, (at) => fall.play(index, at))));
  const first = turns[0];
  const facts = factList([
    ["Said", row.said || "not known"],
    ["Recording", soundText(first)],
    ["Scenario", `${row.scenario}, turn ${row.number}, repeat ${repeatText(row)}`],
    ["Instructions", `${first.instruction_chars} characters`],
    ["Interrupts", turns.some((turn) => turn.interrupts) ? "the reply before it" : null],
  ]);
  const axis = h("figure", { class: "axisfigure" }, h("figcaption", {}, stamped(), "All paths on one axis: milliseconds after the true end of the user\u2019s speech."), fall.node);
  const tables = turns.map((turn) => h("div", { class: "partsof" }, turns.length > 1 ? h("h4", {}, turn.title) : null, partsTable(turn)));
  return [facts, h("div", { class: "facingpaths" }, turns.map((turn, index) => pathPanel(turn, players[index]))), axis, h("div", { class: "facingpaths" }, tables)];
}

function pathPanel(turn, sound) {
  const index = PATHS.findIndex((path) => path.name === turn.path);
  const status = statusOf(turn);
  const answering = turn.answering_ms !== null && turn.answering_ms !== turn.wav_ms ? `${ms(turn.answering_ms)} ms` : null;
  const server = Object.entries(turn.server_ms).map(([name, value]) => `${figureName(name)} ${ms(value)} ms`);
  const errors = typeof turn.word_errors === "number" ? `${plural(turn.word_errors, "error", "errors")} in ${plural(turn.words, "word", "words")}` : null;
  return h(
    "article",
    { class: "pathpanel", "data-path": turn.path },
    h("h4", {}, index < 0 ? turn.title : pathName(index)),
    factList([
      ["Status", status === "ok" ? null : h("span", { class: "bad" }, status)],
      ["Reason", turn.reason || (status === "ok" ? null : turn.conversation_reason)],
      ["Latency", turn.wav_ms === null ? null : `${ms(turn.wav_ms)} ms`],
      ["Answering", answering],
      ["Silent after", turn.silence_ms === null ? null : `${ms(turn.silence_ms)} ms of being interrupted`],
      ["Server side", server.join("; ")],
      ["Understood", turn.transcript ? [turn.transcript, wordsApart(turn)] : h("span", { class: "quiet" }, "no transcript")],
      ["Words", errors],
      ["Reply", turn.reply || h("span", { class: "quiet" }, "none")],
      ["Remembered", turn.kept],
      ["Gaps", turn.underrun_ms ? `${ms(turn.underrun_ms)} ms of silence inside the reply` : null],
    ]),
    callList(turn),
    checkList(turn.checks),
    sound.node,
  );
}

/** The words that differ, by more than colour. */
function wordsApart(turn) {
  if (!turn.diff.length) return null;
  const parts = turn.diff.flatMap(([kind, said, heard]) => [
    kind === "same" ? heard : null,
    kind === "changed" || kind === "missing" ? h("del", { title: `said, not understood` }, said) : null,
    kind === "changed" ? " " : null,
    kind === "changed" || kind === "extra" ? h("ins", { title: "understood, not said" }, heard) : null,
    " ",
  ]);
  return h("span", { class: "apartwords" }, parts.filter(Boolean));
}

function callList(turn) {
  if (!turn.calls.length) return null;
  const items = turn.calls.map((call) => {
    const result = call.cancelled ? "not wanted any more" : call.answered_ms === null ? "no result was given" : `result of ${plural(call.bytes, "byte", "bytes")} at ${ms(call.answered_ms)} ms`;
    return h("li", {}, h("code", {}, `${call.name}(${call.arguments})`), h("span", { class: "note" }, ` at ${ms(call.asked_ms)} ms; ${result}`));
  });
  return h("div", { class: "calls" }, h("h5", {}, "Tool calls"), h("ul", {}, items));
}

function checkList(checks) {
  if (!checks.length) return null;
  const items = checks.map((check) => {
    const [sign, word] = check.met === null ? ["?", "undecided"] : check.met ? ["\u2713", "met"] : ["\u2717", "not met"];
    return h("li", { class: check.met === false ? "unmet" : null }, h("span", { class: "sign", "aria-hidden": "true" }, sign), h("b", {}, `${word}: `), `${check.kind} ${check.wanted}`, check.found ? h("span", { class: "quiet" }, ` (found: ${check.found})`) : null);
  });
  return h("div", { class: "checks" }, h("h5", {}, "Checks"), h("ul", {}, items));
}
