// Moving about in a waterfall: zoom, pan, the keyboard, pointers.

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

/** Which of the turns is at the height of the pointer. */
function groupAt(state, event) {
  const y = event.clientY - state.svg.getBoundingClientRect().top;
  return Math.max(0, state.groups.findIndex((group) => y < group.bottom));
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
    if (known && event.type === "pointerup" && moved <= 3) state.seek(groupAt(state, event), timeAt(state, event));
  };
  for (const name of ["pointerup", "pointercancel"]) state.box.addEventListener(name, end);
  document.addEventListener("pointerup", (event) => pointers.delete(event.pointerId));
}
