// The paths side by side: each figure of each, and by how much it differs from the first path's.

const PATHS = DATA.paths;
const LABELS = Object.fromEntries(PATHS.map((path) => [path.name, path.label]));

/** A path's name with a mark of its colour and shape, and the stamp if it is simulated. */
function pathName(index) {
  const path = PATHS[index];
  const stamp = path.simulated ? h("b", { class: "stamped" }, DATA.stamp) : null;
  const duplex = path.duplex ? h("span", { class: "kind", title: "It listens and speaks at once and tells of no turns: its sound decides" }, "full duplex") : null;
  return h("span", { class: "pathname" }, marker(index), path.name, stamp && " ", stamp, duplex && " ", duplex);
}

const SHAPES = ["M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z", "M-4.5-4.5h9v9h-9Z", "M0-6L6 5H-6Z", "M0-6L6 0L0 6L-6 0Z", "M0 6L6-5H-6Z", "M-6-2h4v-4h4v4h4v4h-4v4h-4v-4h-4Z"];

function shape(index) {
  return SHAPES[index % SHAPES.length];
}

function marker(index) {
  return s("svg", { class: `swatch p-${index % 6}`, width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" }, s("path", { d: shape(index), class: "solid" }));
}

/** A number in its unit. */
function inUnit(value, unit) {
  if (typeof value === "string") return value;
  if (typeof value !== "number") return NONE;
  const text = {
    ms: () => `${ms(value)}\u00a0ms`,
    share: () => `${share(value)}\u00a0%`,
    points: () => `${share(value)}\u00a0points`,
    s: () => `${decimals(value)}\u00a0s`,
    J: () => `${decimals(value)}\u00a0J`,
    count: () => String(value),
    bytes: () => `${value.toLocaleString("en-US").replace(/,/g, "\u202f")}\u00a0bytes`,
    usd: () => `$${Math.abs(value) < 0.1 ? Number(value.toPrecision(2)) : value.toFixed(2)}`,
  }[unit];
  return text().replace("-", MINUS);
}

function share(value) {
  const percent = 100 * value;
  return percent && Math.abs(percent) < 10 ? percent.toFixed(1) : percent.toFixed(0);
}

function decimals(value) {
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
}

function span(ci, unit) {
  if (!ci || typeof ci[0] !== "number") return null;
  const bare = (value) => inUnit(value, unit).replace(/\u00a0[^\d]*$/, "");
  return `[${bare(ci[0])}, ${bare(ci[1])}]`;
}

function measureCell(cell, unit) {
  if (!cell) return h("td", {}, NONE);
  const among = cell.note ? h("span", { class: "among" }, cell.note) : null;
  return h("td", {}, h("b", {}, inUnit(cell.value, unit)), " ", h("span", { class: "ci" }, span(cell.ci, unit)), among, differenceOf(cell.difference, unit));
}

/** What the difference from the first path is, in words where none is shown. */
function differenceOf(difference, unit) {
  if (!difference) return null;
  if (typeof difference.value !== "number") return h("span", { class: "against" }, difference.verdict);
  const sign = difference.value > 0 ? "+" : "";
  const kind = unit === "share" ? "points" : unit;
  const text = `${sign}${inUnit(difference.value, kind)}`;
  const none = !difference.clear;
  return h(
    "span",
    { class: none ? "against none" : "against" },
    h("span", { class: "verdictword" }, difference.verdict),
    `: ${text}`,
    difference.ci ? [" ", h("span", { class: "ci" }, span(difference.ci, unit))] : null,
    difference.n ? `, ${plural(difference.n, "pair", "pairs")}` : null,
  );
}

function measureTable(group) {
  const head = h("thead", {}, h("tr", {}, h("th", { scope: "col" }, group.title), PATHS.map((_, index) => h("th", { scope: "col" }, pathName(index)))));
  const body = group.rows.map((row) =>
    h("tr", {}, h("th", { scope: "row" }, row.label, row.note ? h("span", { class: "definition" }, row.note) : null), row.cells.map((cell) => measureCell(cell, row.unit))),
  );
  const table = h("table", { class: `measures of-${Math.min(PATHS.length, 6)}` }, head, h("tbody", {}, body));
  return tableFigure([h("b", {}, `${group.title}. `), group.caption], table, group.title);
}

function pathSection() {
  if (!DATA.measures.length) return [h("p", {}, "Nothing was measured.")];
  const against = PATHS.length > 1 ? h("p", { class: "note" }, `Below each figure stands by how much it differs from that of ${PATHS[0].label}: the pairs are of the same utterance and repetition, the interval is the 95 % one, and \u201cno difference shown\u201d says that the interval holds zero or that there are too few pairs.`) : null;
  return [against, ...DATA.measures.map(measureTable)];
}

function latencySection() {
  const groups = ({ groups: found }, marked) =>
    found.map(({ path, stats, dots }) => ({
      label: PATHS[path].label,
      mark: marked ? `p-${path % 6}` : null,
      stats: stats || {},
      dots: dots.map(([value, id]) => [value, id, [`${DATA.turns[id].scenario} turn ${DATA.turns[id].number}, repeat ${DATA.turns[id].repeat}`, PATHS[path].label]]),
    }));
  const marks = "Vertical lines: median (solid) with its 95 % interval (band), 90th percentile (dotted).";
  const panels = (kinds, share) => DATA.strips.filter(kinds).map((one) => strips(one.kind, one.title, groups(one, share), share)).filter(Boolean);
  const whole = panels((one) => one.kind === "total", true);
  if (!whole.length) return [h("p", {}, "No turn had a reply: there is nothing to draw.")];
  const parts = panels((one) => one.kind !== "total", false);
  return [
    ...whole.map((panel) => figure(["Each dot is a turn; it opens in Section 5. The step line is the share of turns at or below. ", marks], panel)),
    parts.length ? figure(["The same for each part, by the trace; each panel has its own axis, and only the paths that have the part. ", marks], h("div", { class: "panels" }, parts)) : null,
  ];
}
