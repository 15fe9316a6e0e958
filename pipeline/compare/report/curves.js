// Shares as curves, by turn or by length of the instructions, with their intervals.

const CURVE = { left: 44, right: 14, top: 12, height: 210, foot: 40, dodge: 7 };

/** A chart with its legend and the same as a table; null where no path has a point. */
function curve(one) {
  if (!one.series.some((series) => series.points.length)) return null;
  const box = h("div", { class: "curve", tabindex: 0, role: "group", "aria-label": `${one.title}. Left and right go along a curve, up and down from path to path.` });
  const state = { one, box, at: null, points: [] };
  responsive(box, (width) => drawCurve(state, width));
  box.addEventListener("keydown", (event) => moveAlong(state, event));
  const keys = one.series.map((series) => h("li", {}, pathName(series.path)));
  return figure(one.note, h("h3", {}, one.title), h("ul", { class: "legend" }, keys), box, curveTable(one));
}

function pointLines(one, series, point) {
  const tick = one.ticks.find(([x]) => x === point.x);
  return [`${share(point.share)}\u00a0% (${point.met} of ${point.n})`, PATHS[series.path].label, `${one.axis} ${tick ? tick[1] : point.x}`, point.ci ? `95 % interval ${span(point.ci, "share")} %` : ""].filter(Boolean);
}

function drawCurve(state, width) {
  const { one, box } = state;
  const low = one.ticks[0][0];
  const high = one.ticks.at(-1)[0];
  const inner = width - CURVE.left - CURVE.right;
  const widest = Math.max(...one.ticks.map(([, label]) => label.length)) * 3.4 - CURVE.right;
  const pad = Math.max(Math.min(24, inner / (2 * one.ticks.length)), Math.min(widest, inner / 4));
  const x = (value) => CURVE.left + pad + (high === low ? 0.5 : (value - low) / (high - low)) * (inner - 2 * pad);
  const y = (value) => CURVE.top + (1 - value) * CURVE.height;
  const svg = s("svg", { width, height: CURVE.top + CURVE.height + CURVE.foot });
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(s("path", { class: "grid", d: `M${CURVE.left} ${y(value)}H${width - CURVE.right}` }));
    svg.append(s("text", { class: "tick", x: CURVE.left - 8, y: y(value) + 4, "text-anchor": "end" }, `${100 * value} %`));
  }
  let taken = -Infinity;
  for (const [value, label] of one.ticks) {
    const half = label.length * 3.4;
    if (x(value) - half < taken) continue;
    taken = x(value) + half + 4;
    svg.append(s("path", { class: "axis", d: `M${x(value)} ${y(0)}v4` }));
    svg.append(s("text", { class: "tick", x: x(value), y: y(0) + 17, "text-anchor": "middle" }, label));
  }
  svg.append(s("path", { class: "axis", d: `M${CURVE.left} ${y(0)}H${width - CURVE.right}` }));
  svg.append(s("text", { class: "linelabel", x: width - CURVE.right, y: y(0) + 34, "text-anchor": "end" }, one.axis));
  const dodge = Math.min(CURVE.dodge, (inner - 2 * pad) / Math.max(1, one.ticks.length - 1) / (one.series.length + 1));
  const kept = state.at;
  state.points = one.series.map((series, row) => drawSeries(svg, one, series, (value) => x(value) + (row - (one.series.length - 1) / 2) * dodge, y, state, row));
  box.replaceChildren(svg);
  state.at = kept;
}

function drawSeries(svg, one, series, x, y, state, row) {
  const group = s("g", { class: `series p-${series.path % 6}` });
  const line = series.points.map((point, index) => `${index ? "L" : "M"}${x(point.x).toFixed(1)} ${y(point.share).toFixed(1)}`).join("");
  group.append(s("path", { d: line, class: `curveline dash-${series.path % 6}` }));
  const nodes = series.points.map((point, column) => {
    const lines = pointLines(one, series, point);
    const at = x(point.x);
    const whisker = point.ci ? s("path", { class: "whisker", d: `M${at} ${y(point.ci[0])}V${y(point.ci[1])}M${at - 3} ${y(point.ci[0])}h6M${at - 3} ${y(point.ci[1])}h6` }) : null;
    return s(
      "g",
      {
        class: "point",
        tabindex: -1,
        role: "img",
        "aria-label": lines.join(". "),
        onpointerenter: (event) => tip.show(lines, event.clientX, event.clientY),
        onpointerleave: () => tip.hide(),
        onfocus: (event) => ((state.at = [row, column]), tip.at(lines, event.currentTarget)),
        onblur: () => tip.hide(),
      },
      s("circle", { cx: at, cy: y(point.share), r: 11, class: "target" }),
      whisker,
      s("path", { d: shape(series.path), transform: `translate(${at} ${y(point.share)})`, class: "solid" }),
    );
  });
  group.append(...nodes);
  svg.append(group);
  return nodes;
}

function moveAlong(state, event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const first = state.points.findIndex((row) => row.length);
  const now = state.at || [first, event.key === "ArrowLeft" ? 1 : -1];
  let row = state.at ? now[0] + step[0] : first;
  while (state.points[row] && !state.points[row].length) row += step[0] || 1;
  if (!state.points[row]) row = now[0];
  const column = Math.min(Math.max(0, now[1] + step[1]), state.points[row].length - 1);
  state.points[row][Math.max(0, column)].focus();
}

function curveTable(one) {
  const head = h("thead", {}, h("tr", {}, h("th", { scope: "col" }, one.axis), one.series.map((series) => h("th", { scope: "col" }, pathName(series.path)))));
  const rows = one.ticks.map(([x, label]) =>
    h("tr", {}, h("th", { scope: "row" }, label), one.series.map((series) => {
      const point = series.points.find((found) => found.x === x);
      return h("td", {}, point ? [`${share(point.share)}\u00a0% `, h("span", { class: "ci" }, span(point.ci, "share")), ` ${point.met} of ${point.n}`] : NONE);
    })),
  );
  const caption = h("caption", { class: "hidden" }, stamped(), one.title);
  const box = h("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `${one.title}, as a table` }, h("table", {}, caption, head, h("tbody", {}, rows)));
  return h("details", {}, h("summary", {}, "The same as a table", DATA.stamp ? " " : null, stamped()), box);
}

function curveSection() {
  const drawn = DATA.curves.map(curve).filter(Boolean);
  if (!drawn.length) return [h("p", {}, "No scenario has more than one turn with something to check, or several lengths of instructions.")];
  return [h("p", {}, "Bars are 95 % intervals (Wilson\u2019s). Turns that failed count as not met."), h("div", { class: "panels" }, drawn)];
}
