// Small helpers: elements, numbers, the tooltip. Text always goes in as text, never as markup.

const DATA = JSON.parse(document.getElementById("data").textContent);
const PARTS = DATA.parts;
const PART = Object.fromEntries(PARTS.map((part) => [part.name, part]));
const MINUS = "\u2212";
const NONE = "\u2013";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element; `on…` attributes are listeners. */
function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function s(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** A number of milliseconds, one decimal below 100; a dash where there is none. */
function ms(value) {
  if (typeof value !== "number") return NONE;
  const text = Math.abs(value) < 100 ? value.toFixed(1) : value.toFixed(0);
  return text === "-0.0" ? "0.0" : text.replace("-", MINUS);
}

/** Likewise with its sign. */
function signed(value) {
  return value >= 0.05 ? `+${ms(value)}` : ms(value);
}

function interval(stats) {
  const ci = stats && stats.ci95;
  if (!ci || typeof ci[0] !== "number" || typeof ci[1] !== "number") return "";
  if (stats.median === 0 && ci[0] === 0 && ci[1] === 0) return "";
  return `[${ms(ci[0])}, ${ms(ci[1])}]`;
}

function plural(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}

/** Round tick positions between two values. */
function ticks(from, to, most) {
  const span = Math.max(to - from, 1e-6);
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].map((k) => k * power).find((size) => span / size <= most) || span;
  const found = [];
  for (let index = Math.ceil(from / step - 1e-9); index * step <= to + step * 1e-9; index += 1) {
    found.push(Number((index * step).toPrecision(12)));
  }
  return found;
}

function tickText(value) {
  return String(Number(value.toPrecision(6))).replace("-", MINUS);
}

/** Runs `draw(width)` now and whenever the element's width changes. */
function responsive(element, draw) {
  let last = 0;
  new ResizeObserver(() => {
    const width = Math.floor(element.clientWidth);
    if (width < 40 || width === last) return;
    last = width;
    draw(width);
  }).observe(element);
}

const tip = {
  node: document.getElementById("tip"),
  anchor: null,
  /** Shows lines (the first as its heading) near a point of the window. */
  show(lines, x, y) {
    this.anchor = null;
    const [head, ...rest] = lines;
    this.node.replaceChildren(h("strong", {}, head), ...rest.map((line) => h("span", {}, line)));
    this.node.hidden = false;
    const box = this.node.getBoundingClientRect();
    const left = Math.min(x + 12, document.documentElement.clientWidth - box.width - 8);
    const below = y + 18 + box.height < window.innerHeight;
    this.node.style.left = `${Math.max(8, left)}px`;
    this.node.style.top = `${below ? y + 18 : Math.max(8, y - box.height - 12)}px`;
  },
  /** Shows lines at an element that has the focus, and stays with it when the page scrolls. */
  at(lines, element) {
    const box = element.getBoundingClientRect();
    this.show(lines, Math.max(0, box.left), box.bottom - 12);
    this.anchor = { lines, element };
  },
  scrolled() {
    if (this.anchor && !this.node.hidden) this.at(this.anchor.lines, this.anchor.element);
    else this.hide();
  },
  hide() {
    this.anchor = null;
    this.node.hidden = true;
  },
};
document.addEventListener("keydown", (event) => event.key === "Escape" && tip.hide());
document.addEventListener("scroll", () => tip.scrolled(), { passive: true });

/** A square of a part's colour. */
function swatch(name, hidden) {
  const color = hidden ? `url(#hatch-${name})` : null;
  return s(
    "svg",
    { class: `swatch c-${name}`, width: 11, height: 11, "aria-hidden": "true" },
    s("rect", { width: 11, height: 11, class: hidden ? "outline" : "solid", fill: color }),
  );
}

function hatches() {
  document.getElementById("patterns").append(
    ...PARTS.map(({ name }) =>
      s(
        "pattern",
        {
          id: `hatch-${name}`,
          class: `c-${name}`,
          width: 5,
          height: 5,
          patternUnits: "userSpaceOnUse",
          patternTransform: "rotate(45)",
        },
        s("path", { d: "M1 0V5", class: "hatch" }),
      ),
    ),
  );
}

let figures = 0;
let tables = 0;

/** What is written on every figure and table of a report, such as that it is of a simulation. */
function stamped() {
  return DATA.stamp ? [h("b", { class: "stamped" }, DATA.stamp), " "] : [];
}

/** The same on a table that has no caption to be seen; null where there is nothing to say. */
function hiddenCaption(title) {
  return DATA.stamp ? h("caption", { class: "hidden" }, stamped(), title) : null;
}

function figure(caption, ...content) {
  figures += 1;
  const label = h("b", {}, `Figure ${figures}. `);
  return h("figure", {}, ...content, h("figcaption", {}, stamped(), label, ...[caption].flat()));
}

function tableFigure(caption, table, label) {
  tables += 1;
  const head = h("figcaption", {}, stamped(), h("b", {}, `Table ${tables}. `), ...[caption].flat());
  const box = h("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": label }, table);
  responsive(box, (width) => box.classList.toggle("cut", table.offsetWidth > width + 2));
  return h("figure", { class: "tabular" }, head, box);
}
