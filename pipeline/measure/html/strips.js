// Every turn as a dot: one strip for each group, with the share of turns at or below if wanted.

const STRIP = { dots: 30, share: 34, label: 18, gap: 8, axis: 24 };

/**
 * A panel with a strip for each group; null where there is nothing to draw.
 *
 * @param kind class of its colour: `c-` and this
 * @param groups each with its `label`, its `stats`, if wanted a class for its colour as `mark`, and its `dots` by value: [value, id of the turn, lines of the tooltip]
 * @param share whether the cumulative share of turns is drawn
 */
function strips(kind, title, groups, share) {
  const all = groups.flatMap((group) => group.dots.map(([value]) => value));
  if (!all.length) return null;
  for (const group of groups) group.dots.sort((one, other) => one[0] - other[0]);
  const box = h("div", { class: `strip c-${kind}` });
  const panel = h("div", { class: "panel" }, h("h3", {}, title), box);
  const low = Math.min(0, ...all);
  const top = Math.max(...all, 1);
  responsive(box, (width) => box.replaceChildren(stripPanel(title, groups, low, top, share, width)));
  return panel;
}

function stripPanel(title, groups, low, top, share, width) {
  const high = top + (top - low) * 0.02;
  const rowHeight = STRIP.label + (share ? STRIP.share : 0) + STRIP.dots + STRIP.gap;
  const height = rowHeight * groups.length + STRIP.axis;
  const x = (value) => 5 + ((value - low) / (high - low)) * (width - 10);
  const svg = s("svg", { width, height, role: "img", "aria-label": stripWords(title, groups) });
  for (const tick of ticks(low, high, width / 80)) {
    const near = x(tick) < 16 ? "start" : x(tick) > width - 16 ? "end" : "middle";
    svg.append(s("path", { class: "grid", d: `M${x(tick)} 0V${height - STRIP.axis}` }));
    svg.append(s("text", { x: x(tick), y: height - 7, "text-anchor": near, class: "tick" }, tickText(tick)));
  }
  const dots = [];
  const pitch = Math.min(5, (STRIP.dots - 6) / Math.max(...groups.map((group) => tallest(group.dots, x)), 1));
  groups.forEach((group, index) => {
    const y = index * rowHeight;
    svg.append(s("text", { x: 0, y: y + 12, class: "rowlabel" }, group.label));
    if (share && group.dots.length) svg.append(shareLine(group.dots, x, y + STRIP.label, width));
    const base = y + rowHeight - STRIP.gap;
    const placed = stack(group.dots, x, base, pitch);
    dots.push(...placed);
    const path = placed.map((dot) => `M${dot.x.toFixed(1)} ${dot.y.toFixed(1)}h0`).join("");
    const drawn = s("path", { class: pitch < 3 ? "dots many" : "dots", d: path });
    svg.append(s("g", { class: group.mark }, stripMarks(group.stats, x, base), drawn));
    svg.append(s("path", { class: "axis", d: `M0 ${base + 3.5}H${width}` }));
  });
  hoverDots(svg, dots);
  return svg;
}

function stripWords(title, groups) {
  const rows = groups.map(({ label, stats }) => `${label}: median ${ms(stats.median)}, 90th percentile ${ms(stats.p90)}, maximum ${ms(stats.max)} ms`);
  return `${title}. ${rows.join("; ")}.`;
}

/** Dots side by side where they fit, else on top of one another, `pitch` pixels apart. */
function stack(group, x, base, pitch) {
  const columns = new Map();
  return group.map(([value, id, lines]) => {
    const column = Math.round(x(value) / 5);
    const level = columns.get(column) || 0;
    columns.set(column, level + 1);
    return { x: pitch < 3 ? column * 5 : x(value), y: base - 2 - level * pitch, level, value, id, lines };
  });
}

function tallest(group, x) {
  return Math.max(0, ...stack(group, x, 0, 0).map((dot) => dot.level));
}

function shareLine(group, x, top, width) {
  let path = `M0 ${top + STRIP.share}`;
  group.forEach(([value], index) => {
    path += `H${x(value).toFixed(1)}V${(top + STRIP.share * (1 - (index + 1) / group.length)).toFixed(1)}`;
  });
  return s("path", { class: "share", d: `${path}H${width}` });
}

function stripMarks(stats, x, base) {
  const group = s("g", { class: "median" });
  const top = base - STRIP.dots + 2;
  if (stats.ci95 && typeof stats.ci95[0] === "number") {
    const width = Math.max(1, x(stats.ci95[1]) - x(stats.ci95[0]));
    group.append(s("rect", { x: x(stats.ci95[0]), y: top, width, height: STRIP.dots, class: "ciband" }));
  }
  if (typeof stats.median === "number") {
    group.append(s("path", { d: `M${x(stats.median)} ${top}v${STRIP.dots}`, class: "medianline" }));
  }
  if (typeof stats.p90 === "number") {
    group.append(s("path", { d: `M${x(stats.p90)} ${top}v${STRIP.dots}`, class: "p90" }));
  }
  return group;
}

function hoverDots(svg, dots) {
  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let least = 14 ** 2;
    for (const dot of dots) {
      const distance = (dot.x - px) ** 2 + (dot.y - py) ** 2;
      if (distance < least) [best, least] = [dot, distance];
    }
    return best;
  };
  svg.addEventListener("pointermove", (event) => {
    const dot = nearest(event);
    svg.classList.toggle("pointing", Boolean(dot));
    if (!dot) return tip.hide();
    return tip.show([`${ms(dot.value)} ms`, ...dot.lines], event.clientX, event.clientY);
  });
  svg.addEventListener("pointerleave", () => tip.hide());
  svg.addEventListener("click", (event) => {
    const dot = nearest(event);
    if (dot) location.hash = `turn-${dot.id}`;
  });
}
