// The table of all turns; a row opens the turn's waterfall, sound and marks beneath it.

const STEP = 100;

const COLUMNS = [
  { key: "variant", label: "Variant", wide: true },
  { key: "file", label: "File" },
  { key: "repeat", label: "Rep.", number: true, wide: true, title: "Repetition" },
  { key: "status", label: "Status" },
  { key: "wav_ms", label: "Latency", number: true, show: ms, title: "By the WAV (ms)" },
  { key: "trace_ms", label: "Trace", number: true, show: ms, wide: true, title: "By the trace (ms)" },
  { key: "difference_ms", label: "Diff.", number: true, show: signed, wide: true, title: "Trace minus WAV (ms)" },
  { key: "transcript", label: "Understood", wide: true, text: true },
  { key: "reply", label: "Reply", wide: true, text: true },
];

function statusOf(turn) {
  return turn.status === "ok" && turn.wav_ms === null ? "not heard" : turn.status;
}

function cell(turn, column) {
  if (column.key === "status") {
    const status = statusOf(turn);
    return h("td", {}, h("span", { class: status === "ok" ? "ok" : "bad" }, status));
  }
  if (column.key === "transcript") return h("td", { class: "wide text" }, heardText(turn));
  const value = column.show ? column.show(turn[column.key]) : turn[column.key];
  const classes = [column.number && "num", column.wide && "wide", column.text && "text"];
  return h("td", { class: classes.filter(Boolean).join(" ") || null }, value === "" ? NONE : String(value));
}

/** What was understood, and what was said where that differs. */
function heardText(turn) {
  const same = !turn.expected || plainWords(turn.expected) === plainWords(turn.transcript);
  const text = turn.transcript || NONE;
  if (!turn.transcript) return [text, turn.expected ? h("span", { class: "said" }, `said: ${turn.expected}`) : null];
  return same ? [text] : [h("span", { class: "differs" }, text), h("span", { class: "said" }, `said: ${turn.expected}`)];
}

function plainWords(text) {
  return text.toLowerCase().replace(/[^\p{L}\p{N}\s]/gu, "").replace(/\s+/g, " ").trim();
}

/** A sortable, filterable table of `turns`; `filters` false leaves out the filters. */
function turnTable(turns, label, filters) {
  const state = { turns, sort: null, down: false, shown: STEP, open: new Set(), rows: new Map() };
  state.body = h("tbody");
  state.heads = COLUMNS.map((column) => headCell(state, column));
  const table = h("table", { class: "turns" }, h("caption", { class: "hidden" }, label));
  table.append(h("thead", {}, h("tr", {}, state.heads)), state.body);
  state.more = h("button", { type: "button", class: "more", onclick: () => ((state.shown += STEP), list(state)) });
  state.count = h("output", { "aria-live": "polite" });
  const tools = filters ? filterBar(state) : null;
  list(state);
  return { node: h("div", { class: "turnlist" }, tools, table, state.more), reveal: (id) => revealTurn(state, id) };
}

function headCell(state, column) {
  const name = column.key;
  const act = () => {
    state.down = state.sort === name ? !state.down : false;
    state.sort = name;
    list(state);
  };
  const button = h("button", { type: "button", title: column.title, onclick: act }, column.label);
  const classes = [column.number && "num", column.wide && "wide", column.text && "text"];
  return h("th", { scope: "col", class: classes.filter(Boolean).join(" ") || null, "data-key": name }, button);
}

function filterBar(state) {
  const again = () => ((state.shown = STEP), list(state));
  const choice = (label, options) => {
    const all = [h("option", { value: "" }, "all"), ...options.map((name) => h("option", { value: name }, name))];
    const select = h("select", { onchange: again }, all);
    return [select, h("label", {}, label, select)];
  };
  const statuses = [...new Set(state.turns.map(statusOf))];
  const [variant, variantLabel] = choice("Variant", DATA.variants);
  const [status, statusLabel] = choice("Status", statuses);
  const search = h("input", { type: "search", placeholder: "file or words", oninput: again });
  state.filter = { variant, status, search };
  return h("div", { class: "filters" }, variantLabel, statusLabel, h("label", {}, "Contains", search), state.count);
}

function chosen(state) {
  const { variant, status, search } = state.filter || {};
  const words = (search?.value || "").toLowerCase();
  const found = state.turns.filter((turn) => {
    if (variant?.value && turn.variant !== variant.value) return false;
    if (status?.value && statusOf(turn) !== status.value) return false;
    return `${turn.file}\n${turn.transcript}\n${turn.expected}\n${turn.reply}`.toLowerCase().includes(words);
  });
  return state.sort ? found.sort((a, b) => compare(a, b, state)) : found;
}

/** Turns without a value come last, whichever way the column is sorted. */
function compare(one, other, { sort, down }) {
  const [a, b] = sort === "status" ? [statusOf(one), statusOf(other)] : [one[sort], other[sort]];
  const [noA, noB] = [a === null || a === "", b === null || b === ""];
  if (noA || noB) return noA - noB;
  const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
  return down ? -order : order;
}

function list(state) {
  const found = chosen(state);
  const visible = found.slice(0, state.shown);
  state.body.replaceChildren(...visible.flatMap((turn) => rowsOf(state, turn)));
  if (!found.length) state.body.append(h("tr", {}, h("td", { colspan: COLUMNS.length, class: "note" }, "No turn fits.")));
  state.count.textContent = `${found.length} of ${plural(state.turns.length, "turn", "turns")}`;
  state.more.hidden = found.length <= state.shown;
  state.more.textContent = `Show ${Math.min(STEP, found.length - state.shown)} more`;
  for (const head of state.heads) {
    if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function rowsOf(state, turn) {
  const made = state.rows.get(turn.id) || row(state, turn);
  state.rows.set(turn.id, made);
  return made.detail ? [made.line, made.detail] : [made.line];
}

function row(state, turn) {
  const made = { detail: null };
  const toggle = () => {
    made.detail = made.detail ? (made.detail.remove(), null) : detailRow(turn);
    if (made.detail) made.line.after(made.detail);
    made.button.setAttribute("aria-expanded", String(Boolean(made.detail)));
    made.line.classList.toggle("open", Boolean(made.detail));
  };
  made.button = h("button", { type: "button", class: "open", "aria-expanded": "false", onclick: toggle }, turn.file);
  const cells = COLUMNS.map((column) => (column.key === "file" ? h("td", { class: "file" }, made.button, h("span", { class: "narrow" }, `${turn.variant}, rep. ${turn.repeat}`)) : cell(turn, column)));
  const click = (event) => {
    if (!event.target.closest("button, a") && !String(getSelection())) toggle();
  };
  made.line = h("tr", { class: "turn", id: `turn-${turn.id}`, onclick: click }, cells);
  made.show = () => made.detail || toggle();
  return made;
}

/** Opens a turn and brings it into view, past filters and the limit of rows. */
function revealTurn(state, id) {
  const turn = state.turns.find((one) => one.id === id);
  if (!turn) return false;
  let at = chosen(state).indexOf(turn);
  if (at < 0) {
    for (const control of Object.values(state.filter || {})) control.value = "";
    at = chosen(state).indexOf(turn);
  }
  state.shown = Math.max(state.shown, Math.ceil((at + 1) / STEP) * STEP);
  list(state);
  const made = state.rows.get(id);
  made.show();
  made.line.scrollIntoView({ block: "start" });
  made.button.focus({ preventScroll: true });
  return true;
}

function detailRow(turn) {
  let sound = { seek() {} };
  const fall = waterfall(turn, (at) => sound.seek(at));
  sound = player(turn, fall.play);
  const content = h("div", { class: "detail" }, facts(turn), fall.node, sound.node, partsTable(turn));
  return h("tr", { class: "detailrow" }, h("td", { colspan: COLUMNS.length }, content));
}

function facts(turn) {
  const source = turn.end_of_speech === "label" ? "label" : "detector";
  const wasted = Object.entries(turn.wasted).filter(([, value]) => value);
  const pairs = [
    ["Latency", turn.wav_ms === null ? null : `${ms(turn.wav_ms)} ms by the WAV, ${ms(turn.trace_ms)} ms by the trace (${signed(turn.difference_ms)} ms)`],
    ["End of speech", `by ${source}`],
    ["Reason", turn.reason],
    ["Said", turn.expected],
    ["Understood", turn.transcript],
    ["Reply", turn.reply],
    ["Underruns", turn.underrun_ms ? `${ms(turn.underrun_ms)} ms of silence inside the reply` : null],
    ["In vain", wasted.length ? wasted.map(([name, value]) => `${name} ${value}`).join(", ") : null],
    ["Hold", turn.hold_ms === null ? null : `${ms(turn.hold_ms)} ms of silence asked for`],
    ["Lateness", turn.late_ms ? `sound came up to ${ms(turn.late_ms)} ms late` : null],
    ["Node", turn.node],
    ["Processor", turn.cpu_ms ? `${ms(turn.cpu_ms)} ms` : null],
  ];
  return h("dl", { class: "facts" }, pairs.filter(([, text]) => text).map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
}

/** The same as the waterfall shows, for those who rather read it. */
function partsTable(turn) {
  const line = (...cells) => h("tr", {}, cells.map((text, index) => h(index ? "td" : "th", index ? { class: "num" } : { scope: "row" }, text)));
  const head = (...names) => h("thead", {}, h("tr", {}, names.map((name, index) => h("th", { scope: "col", class: index ? "num" : null }, name))));
  const parts = turn.parts && h(
    "table",
    {},
    head("Part", "Waited (ms)", "Hidden (ms)"),
    h("tbody", {}, PARTS.map((part) => line([swatch(part.name), ` ${part.label}`].flat(), ms(turn.parts[part.name]), ms(turn.hidden[part.name])))),
    h("tfoot", {}, line("sum, by the trace", ms(turn.trace_ms), "")),
  );
  const marks = turn.marks.length ? h("table", {}, head("Mark", "At (ms)"), h("tbody", {}, turn.marks.map(([name, at]) => line(name, ms(at))))) : null;
  return parts || marks ? h("details", {}, h("summary", {}, "Parts and marks as tables"), h("div", { class: "pair" }, parts, marks)) : null;
}
