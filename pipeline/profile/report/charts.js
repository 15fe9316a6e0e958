// The parts of the latency, variant under variant, on one axis; and each part's distribution.

const TURNS = DATA.turns;
const MEASURED = TURNS.filter((turn) => turn.repeat !== 0);

function legend() {
  const owners = [...new Set(PARTS.map((part) => part.owner))];
  const entries = owners.map((owner) =>
    h(
      "li",
      {},
      owner === "setting" || owner === "stage" ? h("span", { class: "owner" }, owner) : null,
      PARTS.filter((part) => part.owner === owner).map((part) =>
        h("span", { class: "key" }, swatch(part.name), part.label),
      ),
    ),
  );
  const hidden = h("span", { class: "key" }, swatch("stt", true), "work before the commit");
  entries.push(h("li", {}, h("span", { class: "owner" }, "hidden"), hidden));
  return h("ul", { class: "legend" }, entries);
}

/** What there is to draw of a variant, or null where no turn succeeded. */
function barData(name) {
  const summary = DATA.summary.variants[name];
  const mean = (stats) => (stats && typeof stats.mean === "number" ? stats.mean : null);
  const parts = PARTS.map((part) => [part, mean(summary?.parts_ms?.[part.name])]);
  if (parts.every(([, value]) => value === null)) return null;
  const hidden = PARTS.map((part) => [part, mean(summary?.hidden_ms?.[part.name]) || 0]);
  return {
    parts: parts.map(([part, value]) => [part, value || 0]),
    hidden: hidden.filter(([, value]) => value >= 0.05),
    total: summary.voice_to_voice_ms || {},
  };
}

function barExtent(rows) {
  let low = 0;
  let high = 1;
  for (const row of rows.filter(Boolean)) {
    const commit = row.parts[0][1];
    const end = row.parts.reduce((sum, [, value]) => sum + value, 0);
    low = Math.min(low, end, commit - row.hidden.reduce((sum, [, value]) => sum + value, 0));
    high = Math.max(high, end, row.total.median || 0, row.total.ci95?.[1] || 0);
  }
  return [low, high];
}

function bars() {
  const rows = DATA.variants.map(barData);
  const [low, high] = barExtent(rows);
  const list = h("div", { class: "bars" });
  DATA.variants.forEach((name, index) => {
    const row = rows[index];
    const count = DATA.summary.variants[name] || {};
    const total = row ? `mean ${ms(row.parts.reduce((sum, [, value]) => sum + value, 0))} ms` : "";
    const head = h("div", { class: "barhead" }, h("b", {}, name));
    head.append(h("span", {}, row ? `${total} · n ${count.n}` : "no turn with a reply"));
    list.append(head);
    if (!row) return;
    const box = h("div", { class: "bar" });
    list.append(box);
    responsive(box, (width) => box.replaceChildren(bar(name, row, low, high, width)));
  });
  const axis = h("div", { class: "bar" });
  list.append(axis);
  responsive(axis, (width) => axis.replaceChildren(barAxis(low, high, width)));
  return list;
}

const BAR = { hidden: 12, top: 17, height: 28, pad: 5 };

function bar(name, row, low, high, width) {
  const x = (value) => BAR.pad + ((value - low) / (high - low)) * (width - 2 * BAR.pad);
  const words = row.parts.map(([part, value]) => `${part.label} ${ms(value)} ms`).join(", ");
  const hiddenWords = row.hidden.map(([part, value]) => `${part.label} ${ms(value)} ms`).join(", ");
  const svg = s("svg", {
    width,
    height: BAR.top + BAR.height + 10,
    role: "img",
    "aria-label": `${name}: ${words}. Hidden: ${hiddenWords || "nothing"}.`,
  });
  for (const tick of ticks(low, high, width / 75)) {
    svg.append(s("path", { class: "grid", d: `M${x(tick)} 0V${BAR.top + BAR.height + 10}` }));
  }
  const commit = row.parts[0][1];
  let at = commit - row.hidden.reduce((sum, [, value]) => sum + value, 0);
  for (const [part, value] of row.hidden) {
    svg.append(segment(part, x(at), x(at + value), 2, BAR.hidden, value, true));
    at += value;
  }
  at = 0;
  for (const [part, value] of row.parts) {
    if (value === 0) continue;
    svg.append(segment(part, x(at), x(at + value), BAR.top, BAR.height, value, false));
    at += value;
  }
  svg.append(s("path", { class: "commit", d: `M${x(commit)} 0V${BAR.top + BAR.height + 5}` }));
  const { median, ci95 } = row.total;
  if (typeof median === "number") svg.append(medianMark(x, median, ci95));
  return svg;
}

function segment(part, from, to, y, height, value, hidden) {
  const left = Math.min(from, to);
  const width = Math.max(Math.abs(to - from), 0.75);
  const text = ms(value);
  const label = `${part.label} ${text}`;
  const room = width - 10;
  const shown = room > label.length * 6.4 ? label : room > text.length * 6.4 ? text : "";
  const lines = [part.label, `${text} ms ${hidden ? "hidden before the commit" : "on average"}`];
  const group = s(
    "g",
    {
      class: `c-${part.name}`,
      onpointermove: (event) => tip.show(lines, event.clientX, event.clientY),
      onpointerleave: () => tip.hide(),
    },
    s("rect", {
      x: left,
      y,
      width: Math.max(width - (hidden ? 0 : 1), 0.75),
      height,
      class: hidden ? "outline" : "solid",
      fill: hidden ? `url(#hatch-${part.name})` : null,
    }),
  );
  if (shown && !hidden) {
    group.append(s("text", { class: "on", x: left + 5, y: y + height / 2 + 4 }, shown));
  }
  return group;
}

function medianMark(x, median, ci95) {
  const y = BAR.top + BAR.height + 5;
  const group = s("g", { class: "median" });
  if (ci95 && typeof ci95[0] === "number") {
    group.append(s("path", { d: `M${x(ci95[0])} ${y}H${x(ci95[1])}`, class: "ci" }));
  }
  group.append(s("circle", { cx: x(median), cy: y, r: 3.5 }));
  return group;
}

function barAxis(low, high, width) {
  const x = (value) => BAR.pad + ((value - low) / (high - low)) * (width - 2 * BAR.pad);
  const svg = s("svg", { width, height: 22, "aria-hidden": "true" });
  svg.append(s("path", { class: "axis", d: `M${x(low)} .5H${width}` }));
  for (const tick of ticks(low, high, width / 75)) {
    const near = x(tick) < 20 ? "start" : x(tick) > width - 20 ? "end" : "middle";
    svg.append(s("path", { class: "axis", d: `M${x(tick)} 0v4` }));
    svg.append(s("text", { x: x(tick), y: 17, "text-anchor": near, class: "tick" }, tick === 0 ? "0 ms" : tickText(tick)));
  }
  return svg;
}

/** Each variant's turns with a latency, as dots of its whole (`total`) or of a part. */
function distribution(kind, title, share) {
  const groups = DATA.variants.map((name) => {
    const summary = DATA.summary.variants[name];
    const dots = MEASURED.filter((turn) => turn.variant === name && turn.wav_ms !== null)
      .map((turn) => [kind === "total" ? turn.wav_ms : turn.parts?.[kind], turn.id, [turn.file, `${name}, repeat ${turn.repeat}`]])
      .filter(([value]) => typeof value === "number");
    const stats = (kind === "total" ? summary?.voice_to_voice_ms : summary?.parts_ms?.[kind]) || {};
    return { label: name, stats, dots };
  });
  return strips(kind, title, groups, share);
}
