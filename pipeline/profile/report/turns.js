// The table of all turns; a row opens the turn's waterfall, sound and marks beneath it.

const COLUMNS = [
  { key: "variant", label: "Variant", wide: true },
  { key: "file", label: "File", opens: true },
  { key: "repeat", label: "Rep.", number: true, wide: true, title: "Repetition", cell: (turn) => String(turn.repeat) },
  { key: "status", label: "Status", value: statusOf, cell: statusText },
  { key: "wav_ms", label: "Latency", number: true, title: "By the WAV (ms)", cell: (turn) => ms(turn.wav_ms) },
  { key: "trace_ms", label: "Trace", number: true, wide: true, title: "By the trace (ms)", cell: (turn) => ms(turn.trace_ms) },
  { key: "difference_ms", label: "Diff.", number: true, wide: true, title: "Trace minus WAV (ms)", cell: (turn) => signed(turn.difference_ms) },
  { key: "snr_db", label: "SNR", number: true, wide: true, title: "The voice above the noise (dB)", cell: (turn) => decibels(turn.snr_db) },
  { key: "transcript", label: "Understood", wide: true, text: true, cell: heardText },
  { key: "reply", label: "Reply", wide: true, text: true },
];

function statusOf(turn) {
  return turn.status === "ok" && turn.wav_ms === null ? "not heard" : turn.status;
}

function statusText(turn) {
  const status = statusOf(turn);
  return h("span", { class: status === "ok" ? "ok" : "bad" }, status);
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

/** A sortable table of `turns`; `filters` false leaves out the filters. */
function turnTable(turns, label, filters) {
  return listing({
    rows: turns,
    label,
    noun: ["turn", "turns"],
    columns: COLUMNS,
    id: (turn) => `turn-${turn.id}`,
    holds: (turn, id) => turn.id === id,
    under: (turn) => `${turn.variant}, rep. ${turn.repeat}`,
    detail: turnDetail,
    filters: [
      { label: "Variant", options: DATA.variants, fits: (turn, name) => turn.variant === name },
      { label: "Status", options: [...new Set(turns.map(statusOf))], fits: (turn, status) => statusOf(turn) === status },
    ],
    words: filters && ((turn) => `${turn.file}\n${turn.transcript}\n${turn.expected}\n${turn.reply}`),
    hint: "file or words",
  });
}

function turnDetail(turn) {
  let sound = { seek() {} };
  const fall = waterfall([turn], `turn ${turn.id}: ${turn.variant}, ${turn.file}`, (_, at) => sound.seek(at));
  sound = player(turn, (at) => fall.play(0, at));
  return [facts(turn), fall.node, sound.node, partsTable(turn)];
}

function facts(turn) {
  const source = turn.end_of_speech === "label" ? "label" : "detector";
  const wasted = Object.entries(turn.wasted).filter(([, value]) => value);
  return factList([
    ["Latency", turn.wav_ms === null ? null : `${ms(turn.wav_ms)} ms by the WAV, ${ms(turn.trace_ms)} ms by the trace (${signed(turn.difference_ms)} ms)`],
    ["End of speech", `by ${source}`],
    ["Recording", soundText(turn)],
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
  ]);
}
