// What a report does besides being read: it tells of what is pointed at, sorts and filters rows,
// opens them, draws the waterfalls inside, and plays their sound. Text goes in as text only.

const DATA = JSON.parse(document.getElementById("data").textContent);
const TURNS = new Map(DATA.turns.map((turn) => [String(turn.id), turn]));
const PARTS = new Map(DATA.parts.map((part) => [part.name, part]));

/** An element; `text` and `tip` are its text and what is told of it. */
function h(tag, { text, tip, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  if (tip) node.dataset.tip = tip.join("\n");
  node.append(...children);
  return node;
}

/** A number of milliseconds, one decimal below 100. */
function ms(value) {
  const text = value.toFixed(Math.abs(value) < 100 ? 1 : 0);
  return text === "-0.0" ? "0.0" : text.replace("-", "\u2212");
}

// The tooltip: of what is under the pointer, or has the focus by keyboard.

const tip = document.getElementById("tip");
let anchor = null;

function tell(element, x, y) {
  const [head, ...rest] = element.dataset.tip.split("\n");
  tip.replaceChildren(h("strong", { text: head }), ...rest.map((text) => h("span", { text })));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.min(x + 12, document.documentElement.clientWidth - box.width - 8);
  const below = y + 18 + box.height < window.innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${below ? y + 18 : Math.max(8, y - box.height - 12)}px`;
}

function tellAnchor() {
  const box = anchor.getBoundingClientRect();
  tell(anchor, Math.max(0, box.left), box.bottom - 12);
}

function hide() {
  anchor = null;
  tip.hidden = true;
}

document.addEventListener("pointermove", (event) => {
  const element = event.target.closest("[data-tip]");
  if (element) tell(element, event.clientX, event.clientY);
  else if (!anchor) hide();
});
document.addEventListener("focusin", ({ target }) => {
  if (!target.matches("[data-tip]:focus-visible")) return;
  anchor = target;
  tellAnchor();
});
document.addEventListener("focusout", hide);
document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
document.addEventListener("scroll", () => (anchor ? tellAnchor() : hide()), {
  capture: true,
  passive: true,
});

/** Arrow keys lead along the items of a row, and to the nearest one of the row above or below. */
function walk(box, event) {
  const rows = [...box.querySelectorAll("[data-row]")].map((row) => [...row.querySelectorAll("[data-at]")]);
  const some = rows.filter((items) => items.length);
  const now = document.activeElement;
  const at = some.findIndex((items) => items.includes(now));
  const step = ["ArrowUp", "ArrowLeft"].includes(event.key) ? -1 : 1;
  const away = (item) => Math.abs(item.dataset.at - now.dataset.at);
  let next = some[0]?.[0];
  if (at >= 0 && ["ArrowLeft", "ArrowRight"].includes(event.key)) next = some[at][some[at].indexOf(now) + step];
  else if (at >= 0) next = some[at + step]?.reduce((best, item) => (away(item) < away(best) ? item : best));
  next?.focus();
  event.preventDefault();
}

for (const box of document.querySelectorAll(".curve")) {
  box.addEventListener("keydown", (event) => event.key.startsWith("Arrow") && !event.ctrlKey && !event.altKey && !event.metaKey && walk(box, event));
}

// Tables of turns: a body for each row and for what it opens.

/** Sorts by a column, up and then down; rows without a value come last. */
function sort(table, head) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const number = head.classList.contains("num");
  const value = (body) => {
    const cell = body.rows[0].cells[head.cellIndex];
    return number ? cell.dataset.value : cell.textContent;
  };
  const order = (a, b) => (number ? a - b : a.localeCompare(b)) * (down ? -1 : 1);
  const known = [...table.tBodies].filter((body) => value(body));
  const empty = [...table.tBodies].filter((body) => !value(body));
  table.append(...known.sort((a, b) => order(value(a), value(b))), ...empty);
}

/** Shows the rows that hold the searched words, and a turn that is all that was chosen. */
function filter(list) {
  const chosen = [...list.querySelectorAll("select")].filter((select) => select.value);
  const words = list.querySelector("input").value.toLowerCase();
  const bodies = [...list.querySelector("table").tBodies];
  for (const body of bodies) {
    const facets = JSON.parse(body.dataset.facets);
    const fits = facets.some((turn) => chosen.every(({ dataset, value }) => turn[dataset.facet].includes(value)));
    body.hidden = !fits || !body.dataset.words.toLowerCase().includes(words);
  }
  const output = list.querySelector("output");
  output.textContent = `${bodies.filter((body) => !body.hidden).length} of ${bodies.length} ${output.dataset.noun}`;
}

/** Opens a row or closes it; what is inside is drawn when it is first seen. */
function open(body, opened) {
  const detail = body.rows[1];
  detail.hidden = !opened;
  body.rows[0].classList.toggle("open", opened);
  body.querySelector("button.open").setAttribute("aria-expanded", String(opened));
  for (const audio of detail.querySelectorAll("audio")) audio.pause();
  if (opened && !detail.dataset.drawn) draw(detail);
  detail.dataset.drawn = "1";
}

function draw(detail) {
  const seek = (id, at) => players.get(id)?.(at);
  const fall = detail.querySelector(".fall");
  const play = fall ? waterfall(fall, fall.dataset.turns.split(" ").map((id) => TURNS.get(id)), seek) : () => {};
  const boxes = [...detail.querySelectorAll(".player")];
  const players = new Map(
    boxes.map((box) => {
      const turn = TURNS.get(box.dataset.turn);
      return [turn.id, player(box, turn, (at) => play(turn.id, at))];
    }),
  );
}

for (const list of document.querySelectorAll(".turnlist")) {
  const table = list.querySelector("table");
  table.addEventListener("click", ({ target }) => {
    const head = target.closest("thead th");
    if (head) return sort(table, head);
    const row = target.closest("tr.turn");
    if (!row || target.closest("a") || (!target.closest("button") && String(getSelection()))) return null;
    return open(row.parentElement, row.nextElementSibling.hidden);
  });
  list.querySelector(".filters")?.addEventListener("input", () => filter(list));
}

/** Opens the row of the turn that the address names, past all filters, and goes there. */
function openFromHash() {
  const body = document.querySelector(/^#turn-\d+$/.test(location.hash) ? location.hash : "nothing")?.closest("tbody");
  if (!body) return;
  const list = body.closest(".turnlist");
  if (body.hidden) {
    for (const field of list.querySelectorAll("select, input[type=search]")) field.value = "";
    filter(list);
  }
  open(body, true);
  body.scrollIntoView({ block: "start" });
  body.querySelector("button.open").focus({ preventScroll: true });
}

// A waterfall: turns under one another on one axis of milliseconds after the true end of speech.
// All places are shares of the canvas, which is as wide as the zoom says and scrolls in its box.

const LANES = [
  ["user", "user"],
  ["endpoint", "endpoint"],
  ["stt", "STT"],
  ["llm", "LLM"],
  ["tts", "TTS"],
  ["model", "model"],
  ["tools", "tools"],
  ["speaker", "speaker"],
  ["gap", "gaps"],
];
const WORK = ["stt", "llm", "tts"];
const PITCH = 19;
const MOST_ZOOM = 500;

/** Rows so that nothing in a lane covers anything else; sets `row` of each, gives their number. */
function pack(items) {
  const ends = [];
  for (const item of items) {
    let row = ends.findIndex((end) => end <= item.from + 1e-9);
    if (row < 0) row = ends.length;
    ends[row] = item.to;
    item.row = row;
  }
  return ends.length;
}

/** Lanes from top to bottom with what is in them: the parts that blocked, marks, the work. */
function lanesOf(turn) {
  const spans = turn.spans.map(([lane, name, from, to]) => ({ lane, name, from, to, kind: `l-${lane}` }));
  const blocking = turn.blocking.map(([part, from, to]) => ({ part: PARTS.get(part), name: PARTS.get(part).label, from, to, kind: `c-${part}` }));
  const marks = turn.marks.map(([name, at]) => ({ name, from: at, to: at, row: 0, kind: "l-marks" }));
  const lanes = [
    { label: "waited for", items: blocking },
    { label: "marks", items: marks, rows: 1 },
  ];
  const names = new Map([...LANES, ...spans.filter(({ lane }) => !LANES.some(([id]) => id === lane)).map(({ lane }) => [lane, lane])]);
  for (const [id, label] of names) {
    lanes.push({ id, label, items: spans.filter((span) => span.lane === id), wave: turn.peaks?.[{ user: 0, speaker: 1 }[id]] });
  }
  for (const lane of lanes) {
    lane.items.sort((a, b) => a.from - b.from || a.to - b.to);
    lane.rows ??= pack(lane.items);
  }
  return lanes.filter((lane) => lane.items.length || lane.wave);
}

function words(item, turn) {
  if (item.from === item.to) return [item.name, `at ${ms(item.from)} ms`];
  const commit = turn.marks.find(([mark]) => mark === "committed");
  const hidden = WORK.includes(item.lane) && commit && item.to <= commit[1];
  return [
    `${item.part ? "waited for" : item.lane}: ${item.name}`,
    `${ms(item.to - item.from)} ms, from ${ms(item.from)} to ${ms(item.to)} ms`,
    ...(item.part ? [`owner: ${item.part.owner}`] : []),
    ...(hidden ? ["hidden: done before the commit"] : []),
  ];
}

/** A channel's waveform, from heights (0 to 255) that stand for `DATA.peak_ms` each. */
function wave(text, kind) {
  const heights = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const upper = Array.from(heights, (height, at) => `L${at} ${-height - 3}H${at + 1}`);
  const lower = Array.from(heights, (height, at) => `L${at + 1} ${height + 3}H${at}`).reverse();
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS(svg.namespaceURI, "path");
  svg.setAttribute("viewBox", `0 -260 ${heights.length || 1} 520`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", `wave ${kind}`);
  path.setAttribute("d", `M0 0${upper.join("")}${lower.join("")}Z`);
  svg.append(path);
  return svg;
}

/** Round positions between two values. */
function ticks(from, to, most) {
  const span = to - from;
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].map((k) => k * power).find((size) => span / size <= most);
  const first = Math.ceil(from / step);
  return Array.from({ length: Math.floor(to / step) - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/**
 * Draws turns into a box, which then zooms, scrolls and leads the arrow keys.
 *
 * @param turns each may have a `title`, which is shown where there are several
 * @param seek called with the id of a turn and a time (ms) that was clicked
 * @returns {(id: number, at: number) => void} moves the playhead of a turn
 */
function waterfall(box, turns, seek) {
  const groups = turns.map((turn) => ({ turn, lanes: lanesOf(turn) }));
  const items = groups.flatMap(({ lanes }) => lanes.flatMap((lane) => lane.items));
  const from = Math.min(...items.map((item) => item.from)) - 60;
  const to = Math.max(...items.map((item) => item.to)) + 120;
  const share = (at) => `${((at - from) / (to - from)) * 100}%`;
  const axis = h("div", { class: "ticks" });
  const canvas = h("div", { class: "canvas" }, axis, h("div", { class: "lane" }, h("span", { class: "rowlabel unit", text: "ms" })));
  for (const group of groups) canvas.append(drawGroup(group, groups.length > 1, from, to, share));
  box.append(canvas);

  const gutter = () => parseFloat(getComputedStyle(canvas).getPropertyValue("--gutter"));
  const width = () => canvas.clientWidth - gutter();
  const timeAt = (clientX) => from + ((clientX - canvas.getBoundingClientRect().left - gutter()) / width()) * (to - from);
  const show = (first, last) => {
    const seen = box.clientWidth - gutter();
    const zoom = Math.min(Math.max((to - from) / (last - first), 1), MOST_ZOOM);
    canvas.style.setProperty("--zoom", zoom);
    box.scrollLeft = ((first - from) / (to - from)) * seen * zoom;
  };
  const magnify = (factor, clientX) => {
    const edge = box.getBoundingClientRect().left + gutter();
    const [first, last] = [timeAt(edge), timeAt(edge + box.clientWidth - gutter())];
    const center = clientX === undefined ? (first + last) / 2 : timeAt(clientX);
    show(center - (center - first) / factor, center + (last - center) / factor);
  };
  const acts = {
    "+": () => magnify(1.7),
    "-": () => magnify(1 / 1.7),
    0: () => show(...wait(turns, to)),
    1: () => show(from, to),
  };
  acts["="] = acts["+"];
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.startsWith("Arrow") && !event.shiftKey) return void walk(box, event);
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") box.scrollLeft += (event.key === "ArrowLeft" ? -0.15 : 0.15) * box.clientWidth;
    else if (acts[event.key]) acts[event.key]();
    else return;
    event.preventDefault();
  });
  box.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      magnify(Math.exp(-event.deltaY / 300), event.clientX);
    },
    { passive: false },
  );
  box.addEventListener("click", (event) => {
    const id = event.target.closest(".group")?.dataset.turn;
    if (id) seek(Number(id), timeAt(event.clientX));
  });
  box.previousElementSibling.addEventListener("click", ({ target }) => acts[target.dataset.act]?.());
  new ResizeObserver(() => {
    const some = ticks(from, to, Math.max(1, width() / 80));
    axis.replaceChildren(...some.map((at) => placed(h("span", { text: String(at).replace("-", "\u2212") }), share(at))));
  }).observe(canvas);
  acts[0]();
  return (id, at) => {
    const head = canvas.querySelector(`.group[data-turn="${id}"] .playhead`);
    head.hidden = false;
    placed(head, share(at));
  };
}

/** From a little before the end of speech to a little after the first sound of a reply. */
function wait(turns, to) {
  const heard = turns.map((turn) => turn.marks.find(([name]) => name === "heard.first")?.[1] || 0);
  const end = Math.max(...heard) > 0 ? Math.max(...heard) : Math.min(1500, to);
  return [-0.18 * end, 1.3 * end];
}

function placed(node, left, width, top) {
  node.style.left = left;
  if (width !== undefined) node.style.width = width;
  if (top !== undefined) node.style.top = top;
  return node;
}

function drawGroup({ turn, lanes }, several, from, to, share) {
  const length = (first, last) => `${((last - first) / (to - from)) * 100}%`;
  const marks = new Map(turn.marks);
  const lines = [["zero", 0, turn.from_speech_end ? "end of speech" : "first mark"], ["commit", marks.get("committed"), "commit"], ["heard", marks.get("heard.first"), "heard"]];
  const over = h("div", { class: "over" }, h("div", { class: "playhead", hidden: "" }));
  for (const [kind, at, text] of lanes.length ? lines : []) if (at !== undefined) over.append(placed(h("div", { class: kind, text }), share(at)));
  const title = several ? [h("div", { class: "groupname", text: turn.title })] : [];
  const group = h("div", { class: "group", "data-turn": turn.id }, ...title, over);
  const none = lanes.length ? "" : "nothing was traced";
  group.append(h("div", { class: "lane" }, h("span", { class: "rowlabel room", text: none })));
  for (const { id, label, items, rows, wave: peaks } of lanes) {
    const track = h("div", { class: "track", "data-row": "" });
    const drawn = peaks ? [placed(wave(peaks, `l-${id}`), share(turn.wav_start_ms), length(0, turn.seconds * 1000))] : [];
    const first = drawn.length ? 30 : 0;
    for (const item of items) {
      const told = several ? [...words(item, turn), turn.title] : words(item, turn);
      const kind = `item ${item.kind}${item.from === item.to ? " instant" : ""}${item.name.startsWith("dropped: ") ? " dropped" : ""}`;
      const node = h("div", { class: kind, tabindex: -1, role: "img", "aria-label": told.join(". "), "data-at": item.from, tip: told });
      if (item.from !== item.to) node.append(h("span", { text: item.name.trim(), "aria-hidden": "true" }));
      const wide = item.from === item.to ? undefined : length(item.from, item.to);
      drawn.push(placed(node, share(item.from), wide, `${first + item.row * PITCH}px`));
    }
    track.append(...drawn);
    track.style.height = `${first + rows * PITCH}px`;
    group.append(h("div", { class: "lane" }, h("span", { class: "rowlabel", text: label }), track));
  }
  return group;
}

// A turn's recording.

/** Plays one side of a stereo element on both ears; the graph is made when it is first wanted. */
function router(audio) {
  let gains = null;
  return (side) => {
    if (!gains) {
      const context = new AudioContext();
      const splitter = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
      const merger = new ChannelMergerNode(context, { numberOfInputs: 2 });
      context.createMediaElementSource(audio).connect(splitter);
      gains = ["00", "01", "10", "11"].map((path) => {
        const gain = new GainNode(context);
        splitter.connect(gain, Number(path[0])).connect(merger, 0, Number(path[1]));
        return [path, gain.gain];
      });
      merger.connect(context.destination);
      audio.addEventListener("play", () => context.resume());
      context.resume();
    }
    const heard = { both: ["00", "11"], left: ["00", "01"], right: ["10", "11"] }[side];
    for (const [path, gain] of gains) gain.value = heard.includes(path) ? 1 : 0;
  };
}

/**
 * Gives a player its sound.
 *
 * @param moved called with the position (ms on the turn's axis) while it plays and when it is set
 * @returns {(ms: number) => void} sets the position
 */
function player(box, turn, moved) {
  const audio = box.querySelector("audio");
  const inside = turn.sound === "inside";
  if (inside) {
    audio.preload = "auto";
    audio.src = `data:audio/flac;base64,${document.getElementById(`sound-${turn.id}`).textContent}`;
  } else {
    audio.src = turn.wav + (turn.window || "");
  }
  const skipped = inside ? 0 : turn.offset_s || 0;
  const report = () => moved(turn.wav_start_ms + (audio.currentTime - skipped) * 1000);
  const follow = () => {
    report();
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    follow();
  });
  audio.addEventListener("seeked", report);
  const route = router(audio);
  box.querySelector(".sides").addEventListener("change", ({ target }) => route(target.value));
  return (at) => {
    const seconds = (at - turn.wav_start_ms) / 1000;
    if (seconds >= 0 && seconds <= turn.seconds) audio.currentTime = seconds + skipped;
  };
}

window.addEventListener("hashchange", openFromHash);
openFromHash();
