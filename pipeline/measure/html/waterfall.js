// Turns on one axis of milliseconds after the true end of speech; it can be zoomed and panned.

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
const FALL = { axis: 34, row: 16, pitch: 19, wave: 30, between: 7, gutter: 74, narrow: 58, head: 40 };
const DROPPED = "dropped: ";
const KEYS =
  "Arrow keys go from one piece of work to the next, plus and minus zoom, Shift with left or right moves along, 0 shows the wait, 1 the whole turn.";

/** Rows so that nothing in a lane covers anything else; sets `row` of each, returns their number. */
function pack(spans) {
  const ends = [];
  for (const span of [...spans].sort((a, b) => a.from - b.from || a.to - b.to)) {
    let row = ends.findIndex((end) => end <= span.from + 1e-9);
    if (row < 0) row = ends.length;
    ends[row] = span.to;
    span.row = row;
  }
  return Math.max(1, ends.length);
}

/** Lanes from top to bottom with what is in them: the parts that blocked, then the work. */
function lanesOf(turn) {
  const spans = turn.spans.map(([lane, name, from, to]) => ({ lane, name, from, to }));
  const names = new Map(LANES);
  for (const span of spans) if (!names.has(span.lane)) names.set(span.lane, span.lane);
  const blocking = turn.blocking.map(([part, from, to]) => ({ part, from, to, name: PART[part].label }));
  const marks = turn.marks.map(([name, at]) => ({ lane: "marks", name, from: at, to: at, mark: true, row: 0 }));
  const lanes = [];
  if (marks.length) lanes.push({ id: "marks", label: "marks", items: marks, rows: 1 });
  if (blocking.length) lanes.push({ id: "blocking", label: "waited for", items: blocking, rows: pack(blocking) });
  for (const lane of lanes) lane.turn = turn;
  for (const [id, label] of names) {
    const items = spans.filter((span) => span.lane === id);
    const wave = turn.peaks && { user: 0, speaker: 1 }[id];
    if (!items.length && wave === undefined) continue;
    lanes.push({ id, label, items, rows: items.length ? pack(items) : 0, wave, turn });
  }
  return lanes;
}

function itemWords(item, turn) {
  const name = item.part ? `waited for: ${item.name}` : `${item.lane}: ${item.name}`;
  const owner = item.part ? [`owner: ${PART[item.part].owner}`] : [];
  if (item.from === item.to) return [item.name, `at ${ms(item.from)} ms`];
  const commit = turn.marks.find(([mark]) => mark === "committed");
  const lines = [name, `${ms(item.to - item.from)} ms, from ${ms(item.from)} to ${ms(item.to)} ms`, ...owner];
  const work = ["stt", "llm", "tts"].includes(item.lane);
  if (work && commit && item.to <= commit[1]) lines.push("hidden: done before the commit");
  return lines;
}

/**
 * The waterfall of some turns, each under the other, all on one axis.
 *
 * @param turns each may have a `title`, which is shown where there are several
 * @param what the turns are, in words
 * @param seek called with the position of a turn in `turns` and a time (ms) that was clicked
 * @returns {{node: Element, play: (index: number, ms: number) => void}}
 */
function waterfall(turns, what, seek) {
  const groups = turns.map((turn) => ({ turn, lanes: lanesOf(turn), cursor: null }));
  const lanes = groups.flatMap((group) => group.lanes);
  const items = lanes.flatMap((lane) => lane.items);
  if (!items.length) return { node: h("p", { class: "note" }, "Nothing of this turn was traced."), play() {} };
  const state = { turns, groups, lanes, items, seek, width: 0, gutter: FALL.gutter, focus: null };
  state.extent = [Math.min(...items.map((i) => i.from)) - 60, Math.max(...items.map((i) => i.to)) + 120];
  state.view = waitView(state);
  const box = h("div", {
    class: "fall",
    tabindex: 0,
    role: "group",
    "aria-label": `Waterfall of ${what}. ${KEYS}`,
  });
  state.box = box;
  layOut(state);
  listen(state);
  responsive(box, (width) => {
    state.width = width;
    state.gutter = width < 560 ? FALL.narrow : FALL.gutter;
    place(state);
  });
  const button = (label, title, act) =>
    h("button", { type: "button", "aria-label": title, title, onclick: () => (act(), place(state)) }, label);
  const tools = h(
    "div",
    { class: "tools", role: "toolbar", "aria-label": "View of the waterfall" },
    button("The wait", "Show the wait between the user's last word and the reply", () => (state.view = waitView(state))),
    button("Whole turn", "Show the whole turn", () => (state.view = [...state.extent])),
    button("+", "Zoom in", () => zoom(state, 0.6)),
    button(MINUS, "Zoom out", () => zoom(state, 1 / 0.6)),
    h("span", { class: "note" }, "Drag to move, pinch or Ctrl with the wheel to zoom, click to move playback; arrow keys, + and \u2212 work too."),
  );
  const play = (index, at) => {
    groups[index].cursor = at;
    placeCursors(state);
  };
  return { node: h("div", {}, tools, box), play };
}

/** From a little before the end of speech to a little after the first sound of the reply. */
function waitView(state) {
  const heard = state.turns.map((turn) => turn.marks.find(([name]) => name === "heard.first")?.[1] || 0);
  const last = Math.max(...heard);
  const end = last > 0 ? last : Math.min(1500, state.extent[1]);
  return [-0.18 * end, 1.3 * end];
}

function layOut(state) {
  let y = FALL.axis;
  state.grid = s("g", {});
  state.labels = s("g", {}, s("text", { class: "tick", x: 0, y: FALL.axis - 8 }, "ms"));
  state.plot = s("g", {});
  const several = state.groups.length > 1;
  for (const group of state.groups) {
    group.top = several ? y + 18 : 3;
    if (several) {
      state.labels.append(s("text", { class: "groupname", x: 0, y: y + 13 }, group.turn.title));
      y += FALL.head;
      if (!group.lanes.length) state.labels.append(s("text", { class: "rowlabel", x: 0, y: y - 6 }, "nothing was traced"));
    }
    for (const lane of group.lanes) y = layLane(state, lane, y);
    group.bottom = y;
    group.playhead = s("path", { class: "playhead" });
  }
  state.height = y;
  state.ticks = s("g", {});
  state.numbers = s("g", {});
  state.lines = s("g", {});
  const clip = `clip-${state.turns[0].id}`;
  state.clip = s("rect", { y: 0, height: y });
  const playheads = state.groups.map((group) => group.playhead);
  const inner = s("g", { "clip-path": `url(#${clip})` }, state.ticks, state.lines, state.numbers, state.plot, playheads);
  state.svg = s("svg", { height: y }, s("clipPath", { id: clip }, state.clip), state.grid, state.labels, inner);
  state.box.append(state.svg);
}

/** Adds a lane from `y` on; gives where it ends. */
function layLane(state, lane, top) {
  let y = top;
  lane.y = y;
  if (lane.wave !== undefined) {
    lane.path = s("path", { class: `wave l-${lane.id}` });
    state.plot.append(lane.path);
    y += FALL.wave;
  }
  state.labels.append(s("text", { class: "rowlabel", x: 0, y: lane.y + 12 }, lane.label));
  for (const item of lane.items) {
    item.lane ||= lane.id;
    item.y = y + item.row * FALL.pitch;
    item.node = itemNode(state, item, lane.turn);
    state.plot.append(item.node);
  }
  y += lane.rows * FALL.pitch + FALL.between;
  state.grid.append(s("path", { class: "rule", d: `M0 ${y - FALL.between / 2}H9999` }));
  return y;
}

function itemNode(state, item, turn) {
  const words = itemWords(item, turn);
  if (state.groups.length > 1) words.push(turn.title);
  const dropped = item.name.startsWith(DROPPED);
  const color = item.part ? `c-${item.part}` : `l-${item.lane}`;
  const shape = item.mark || item.from === item.to ? s("path", { class: "instant" }) : s("rect", { class: "solid", height: FALL.row, rx: 1 });
  const label = s("text", { class: dropped ? "rowlabel" : "on", y: item.y + 12, "aria-hidden": "true" });
  return s(
    "g",
    {
      class: `item ${color}${dropped ? " dropped" : ""}`,
      tabindex: -1,
      role: "img",
      "aria-label": words.join(". "),
      onpointermove: (event) => tip.show(words, event.clientX, event.clientY),
      onpointerleave: () => tip.hide(),
      onfocus: (event) => {
        state.focus = item;
        if (!event.target.matches(":focus-visible")) return;
        reveal(state, item);
        tip.at(words, shape);
      },
      onblur: () => tip.hide(),
    },
    shape,
    label,
  );
}

/** Sets every position from the view; called for each zoom, move and change of width. */
function place(state) {
  if (!state.width) return;
  const [from, to] = state.view;
  const span = state.width - state.gutter;
  state.x = (at) => state.gutter + ((at - from) / (to - from)) * span;
  state.svg.setAttribute("width", state.width);
  state.clip.setAttribute("x", state.gutter);
  state.clip.setAttribute("width", span);
  placeAxis(state);
  for (const item of state.items) placeItem(state, item);
  for (const lane of state.lanes) if (lane.path) lane.path.setAttribute("d", wave(state, lane));
  placeCursors(state);
}

function placeItem(state, item) {
  const [shape, label] = item.node.children;
  const left = state.x(item.from);
  const right = Math.max(state.x(item.to), left + 1.5);
  if (shape.tagName === "path") {
    shape.setAttribute("d", `M${left} ${item.y + 1}v${FALL.row - 2}`);
    label.textContent = "";
    return;
  }
  shape.setAttribute("x", left);
  shape.setAttribute("y", item.y);
  shape.setAttribute("width", Math.max(right - left - 0.5, 1));
  const start = Math.max(left, state.gutter);
  const room = Math.floor((Math.min(right, state.width) - start - 8) / 6.3);
  const name = item.name.trim();
  const cut = name.length <= room ? name : room > 3 ? `${name.slice(0, room - 1)}\u2026` : "";
  label.setAttribute("x", start + 4);
  label.textContent = cut;
}

function placeAxis(state) {
  const [from, to] = state.view;
  state.ticks.replaceChildren();
  state.numbers.replaceChildren();
  for (const tick of ticks(from, to, (state.width - state.gutter) / 80)) {
    const x = state.x(tick);
    state.ticks.append(s("path", { class: "grid", d: `M${x} ${FALL.axis - 4}V${state.height}` }));
    if (x < state.gutter + 14 || x > state.width - 14) continue;
    state.numbers.append(s("text", { class: "tick", x, y: FALL.axis - 8, "text-anchor": "middle" }, tickText(tick)));
  }
  state.lines.replaceChildren();
  for (const group of state.groups) if (group.lanes.length) placeLines(state, group);
}

/** The lines through a turn's lanes: end of speech, commit, first sound heard. */
function placeLines(state, { turn, top, bottom }) {
  const marks = Object.fromEntries(turn.marks);
  const lines = [[0, turn.from_speech_end ? "end of speech" : "first mark", "zero"]];
  if ("committed" in marks) lines.push([marks.committed, "commit", "commit"]);
  if ("heard.first" in marks) lines.push([marks["heard.first"], "heard", "heard"]);
  let taken = state.gutter - 4;
  lines.forEach(([at, text, kind], index) => {
    const x = state.x(at);
    const next = index + 1 < lines.length ? state.x(lines[index + 1][0]) : Infinity;
    state.lines.append(s("path", { class: kind, d: `M${x} ${top}V${bottom}` }));
    if (x < state.gutter - 1 || x > state.width) return;
    const size = text.length * 6.2;
    const leftward = x + size + 8 > Math.min(state.width, next);
    const start = leftward ? x - size - 4 : x + 4;
    if (start < taken) return;
    taken = start + size + 4;
    state.lines.append(s("text", { class: "linelabel", x: leftward ? x - 4 : x + 4, y: top + 8, "text-anchor": leftward ? "end" : "start" }, text));
  });
}

function wave(state, lane) {
  lane.heights ||= heights(lane.turn.peaks[lane.wave]);
  const middle = lane.y + FALL.wave / 2 - 2;
  const scale = (FALL.wave / 2 - 3) / 255;
  const step = DATA.peak_ms;
  const first = Math.max(0, Math.floor((state.view[0] - lane.turn.wav_start_ms) / step));
  const last = Math.min(lane.heights.length, Math.ceil((state.view[1] - lane.turn.wav_start_ms) / step));
  const top = [];
  const bottom = [];
  for (let index = first; index < last; index += 1) {
    const left = state.x(lane.turn.wav_start_ms + index * step).toFixed(1);
    const right = state.x(lane.turn.wav_start_ms + (index + 1) * step).toFixed(1);
    const height = lane.heights[index] * scale + 0.4;
    const [high, low] = [(middle - height).toFixed(1), (middle + height).toFixed(1)];
    top.push(`${left} ${high}L${right} ${high}`);
    bottom.push(`${right} ${low}L${left} ${low}`);
  }
  return top.length ? `M${top.join("L")}L${bottom.reverse().join("L")}Z` : "";
}

function placeCursors(state) {
  for (const { cursor, playhead, top, bottom } of state.groups) {
    if (cursor !== null && state.x) playhead.setAttribute("d", `M${state.x(cursor)} ${Math.max(top, FALL.axis - 4)}V${bottom}`);
  }
}
