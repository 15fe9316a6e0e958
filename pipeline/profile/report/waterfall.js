// One turn on an axis of milliseconds after the true end of speech; it can be zoomed and panned.

const LANES = [
  ["user", "user"],
  ["endpoint", "endpoint"],
  ["stt", "STT"],
  ["llm", "LLM"],
  ["tts", "TTS"],
  ["speaker", "speaker"],
  ["gap", "gaps"],
];
const FALL = { axis: 34, row: 16, pitch: 19, wave: 30, between: 7, gutter: 74, narrow: 58 };
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
  for (const [id, label] of names) {
    const items = spans.filter((span) => span.lane === id);
    const wave = turn.peaks && { user: 0, speaker: 1 }[id];
    if (!items.length && wave === undefined) continue;
    lanes.push({ id, label, items, rows: items.length ? pack(items) : 0, wave });
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

function waterfall(turn, seek) {
  const lanes = lanesOf(turn);
  const items = lanes.flatMap((lane) => lane.items);
  if (!items.length) return { node: h("p", { class: "note" }, "Nothing of this turn was traced."), play() {} };
  const state = { turn, lanes, items, seek, width: 0, gutter: FALL.gutter, cursor: null, focus: null };
  state.extent = [Math.min(...items.map((i) => i.from)) - 60, Math.max(...items.map((i) => i.to)) + 120];
  state.view = waitView(state);
  const box = h("div", {
    class: "fall",
    tabindex: 0,
    role: "group",
    "aria-label": `Waterfall of turn ${turn.id}: ${turn.variant}, ${turn.file}. ${KEYS}`,
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
  const play = (at) => {
    state.cursor = at;
    placeCursor(state);
  };
  return { node: h("div", {}, tools, box), play };
}

/** From a little before the end of speech to a little after the first sound of the reply. */
function waitView(state) {
  const heard = state.turn.marks.find(([name]) => name === "heard.first");
  const end = heard && heard[1] > 0 ? heard[1] : Math.min(1500, state.extent[1]);
  return [-0.18 * end, 1.3 * end];
}

function layOut(state) {
  let y = FALL.axis;
  state.grid = s("g", {});
  state.labels = s("g", {}, s("text", { class: "tick", x: 0, y: FALL.axis - 8 }, "ms"));
  state.plot = s("g", {});
  for (const lane of state.lanes) {
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
      item.node = itemNode(state, item);
      state.plot.append(item.node);
    }
    y += lane.rows * FALL.pitch + FALL.between;
    state.grid.append(s("path", { class: "rule", d: `M0 ${y - FALL.between / 2}H9999` }));
  }
  state.height = y;
  state.ticks = s("g", {});
  state.numbers = s("g", {});
  state.lines = s("g", {});
  state.playhead = s("path", { class: "playhead" });
  const clip = `clip-${state.turn.id}`;
  state.clip = s("rect", { y: 0, height: y });
  const inner = s("g", { "clip-path": `url(#${clip})` }, state.ticks, state.lines, state.numbers, state.plot, state.playhead);
  state.svg = s("svg", { height: y }, s("clipPath", { id: clip }, state.clip), state.grid, state.labels, inner);
  state.box.append(state.svg);
}

function itemNode(state, item) {
  const words = itemWords(item, state.turn);
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
  placeCursor(state);
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
  const marks = Object.fromEntries(state.turn.marks);
  const lines = [[0, state.turn.from_speech_end ? "end of speech" : "first mark", "zero"]];
  if ("committed" in marks) lines.push([marks.committed, "commit", "commit"]);
  if ("heard.first" in marks) lines.push([marks["heard.first"], "heard", "heard"]);
  state.lines.replaceChildren();
  let taken = -Infinity;
  lines.forEach(([at, text, kind], index) => {
    const x = state.x(at);
    const next = index + 1 < lines.length ? state.x(lines[index + 1][0]) : Infinity;
    state.lines.append(s("path", { class: kind, d: `M${x} 3V${state.height}` }));
    if (x < state.gutter - 1 || x > state.width) return;
    const size = text.length * 6.2;
    const leftward = x + size + 8 > Math.min(state.width, next);
    const start = leftward ? x - size - 4 : x + 4;
    if (start < taken) return;
    taken = start + size + 4;
    state.lines.append(s("text", { class: "linelabel", x: leftward ? x - 4 : x + 4, y: 11, "text-anchor": leftward ? "end" : "start" }, text));
  });
}

function wave(state, lane) {
  lane.heights ||= heights(state.turn.peaks[lane.wave]);
  const middle = lane.y + FALL.wave / 2 - 2;
  const scale = (FALL.wave / 2 - 3) / 255;
  const step = DATA.peak_ms;
  const first = Math.max(0, Math.floor((state.view[0] - state.turn.wav_start_ms) / step));
  const last = Math.min(lane.heights.length, Math.ceil((state.view[1] - state.turn.wav_start_ms) / step));
  const top = [];
  const bottom = [];
  for (let index = first; index < last; index += 1) {
    const left = state.x(state.turn.wav_start_ms + index * step).toFixed(1);
    const right = state.x(state.turn.wav_start_ms + (index + 1) * step).toFixed(1);
    const height = lane.heights[index] * scale + 0.4;
    const [high, low] = [(middle - height).toFixed(1), (middle + height).toFixed(1)];
    top.push(`${left} ${high}L${right} ${high}`);
    bottom.push(`${right} ${low}L${left} ${low}`);
  }
  return top.length ? `M${top.join("L")}L${bottom.reverse().join("L")}Z` : "";
}

function placeCursor(state) {
  if (state.cursor === null || !state.x) return;
  state.playhead.setAttribute("d", `M${state.x(state.cursor)} ${FALL.axis - 4}V${state.height}`);
}

function move(state, from, to) {
  const most = (state.extent[1] - state.extent[0]) * 1.2;
  const length = Math.min(Math.max(to - from, 1), most);
  const low = state.extent[0] - length * 0.5;
  const high = state.extent[1] + length * 0.5 - length;
  const start = Math.min(Math.max((from + to - length) / 2, low), high);
  state.view = [start, start + length];
  if (!state.asked) {
    state.asked = requestAnimationFrame(() => {
      state.asked = 0;
      place(state);
    });
  }
}

function zoom(state, factor, center) {
  const [from, to] = state.view;
  const at = center ?? (state.focus ? (state.focus.from + state.focus.to) / 2 : (from + to) / 2);
  const fixed = Math.min(Math.max(at, from), to);
  move(state, fixed - (fixed - from) * factor, fixed + (to - fixed) * factor);
}

function pan(state, share) {
  const [from, to] = state.view;
  move(state, from + (to - from) * share, to + (to - from) * share);
}

function reveal(state, item) {
  const [from, to] = state.view;
  if (item.to >= from && item.from <= to) return;
  const middle = (item.from + item.to) / 2;
  state.view = [middle - (to - from) / 2, middle + (to - from) / 2];
  place(state);
}

/** The item that an arrow key leads to. */
function neighbour(state, key) {
  const now = state.focus;
  if (!now) return state.lanes.find((lane) => lane.id === "blocking")?.items[0] || state.items[0];
  const lane = state.lanes.findIndex((one) => one.items.includes(now));
  const inOrder = (items) => [...items].sort((a, b) => a.from - b.from || a.row - b.row);
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const items = inOrder(state.lanes[lane].items);
    return items[items.indexOf(now) + (key === "ArrowRight" ? 1 : -1)] || now;
  }
  const step = key === "ArrowDown" ? 1 : -1;
  for (let other = lane + step; state.lanes[other]; other += step) {
    const near = inOrder(state.lanes[other].items);
    near.sort((a, b) => Math.abs(a.from - now.from) - Math.abs(b.from - now.from));
    if (near.length) return near[0];
  }
  return now;
}

function listen(state) {
  const acts = {
    "+": () => zoom(state, 0.6),
    "=": () => zoom(state, 0.6),
    "-": () => zoom(state, 1 / 0.6),
    0: () => move(state, ...waitView(state)),
    1: () => move(state, ...state.extent),
  };
  state.box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = event.key.startsWith("Arrow");
    if (event.shiftKey && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
      pan(state, event.key === "ArrowLeft" ? -0.15 : 0.15);
    } else if (arrow) {
      neighbour(state, event.key).node.focus();
    } else if (acts[event.key]) {
      acts[event.key]();
    } else {
      return;
    }
    event.preventDefault();
  });
  state.box.addEventListener(
    "wheel",
    (event) => {
      const along = event.shiftKey ? event.deltaY : event.deltaX;
      if (event.ctrlKey || event.metaKey) zoom(state, Math.exp(event.deltaY / 300), timeAt(state, event));
      else if (Math.abs(along) > Math.abs(event.shiftKey ? 0 : event.deltaY)) pan(state, along / 800);
      else return;
      event.preventDefault();
    },
    { passive: false },
  );
  drag(state);
}

function timeAt(state, event) {
  const [from, to] = state.view;
  const left = state.box.getBoundingClientRect().left + state.gutter;
  return from + ((event.clientX - left) / (state.width - state.gutter)) * (to - from);
}

/** One pointer moves the view, two zoom it; a press that does not move sets the playback position. */
function drag(state) {
  const pointers = new Map();
  let moved = 0;
  state.box.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (!pointers.size) moved = 0;
    pointers.set(event.pointerId, event.clientX);
  });
  state.box.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = pointers.get(event.pointerId);
    pointers.set(event.pointerId, event.clientX);
    moved += Math.abs(event.clientX - before);
    if (moved > 3 && !state.box.hasPointerCapture(event.pointerId)) state.box.setPointerCapture(event.pointerId);
    if (pointers.size === 1) {
      pan(state, -(event.clientX - before) / (state.width - state.gutter));
    } else if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const [was, is] = [Math.abs(before - other), Math.abs(event.clientX - other)];
      if (was > 8 && is > 8) zoom(state, was / is, timeAt(state, { clientX: (event.clientX + other) / 2 }));
    }
  });
  const end = (event) => {
    const known = pointers.delete(event.pointerId);
    if (known && event.type === "pointerup" && moved <= 3) state.seek(timeAt(state, event));
  };
  for (const name of ["pointerup", "pointercancel"]) state.box.addEventListener(name, end);
  document.addEventListener("pointerup", (event) => pointers.delete(event.pointerId));
}
