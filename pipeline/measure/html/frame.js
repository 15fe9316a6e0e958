// The page as a whole: its sections and links to them, and tables of names and values.

function startedText(text) {
  const match = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d)?([+-]\d\d):?(\d\d)$/.exec(text);
  return match ? `${match[1]} ${match[2]} (UTC${match[3].replace("-", MINUS)}:${match[4]})` : text;
}

function numbers(...texts) {
  return texts.map((text) => h("td", { class: "num" }, text));
}

function columns(...names) {
  return h("thead", {}, h("tr", {}, names.map((name, index) => h("th", { scope: "col", class: index ? "num" : null }, name))));
}

/** Nested values as lines: dotted names, or with `joined` one line for each group at the end. */
function flat(value, name, joined) {
  if (value === null || typeof value !== "object") return [[name, value]];
  const leaves = Object.entries(value);
  if (joined && name && leaves.length && leaves.every(([, one]) => one === null || typeof one !== "object")) {
    return [[name, leaves.map(([key, one]) => `${key} ${settingText(one)}`).join(", ")]];
  }
  const inner = Object.entries(value).flatMap(([key, one]) => flat(one, name ? `${name}.${key}` : key, joined));
  return inner.length ? inner : [[name, ""]];
}

function settingText(value) {
  if (value === null || value === "") return NONE;
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
}

function facing(title, value, joined) {
  const lines = flat(value || {}, "", joined).filter(([name]) => name);
  if (!lines.length) return null;
  const rows = lines.map(([name, one]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, settingText(one))));
  return h("div", {}, h("h3", {}, title), h("table", { class: "facing" }, hiddenCaption(title), h("tbody", {}, rows)));
}

/** Tables with turns in them, which a link to a turn may open. */
const lists = [];

function openFromHash() {
  const match = /^#turn-(\d+)$/.exec(location.hash);
  if (match) lists.some((list) => list.reveal(Number(match[1])));
}

/** Draws the sections, each a title and what gives its content; fills those that the page has. */
function assemble(sections) {
  const links = sections.map(([title, content], index) => {
    const id = `section-${index + 1}`;
    const there = document.getElementById(id);
    const number = h("span", { class: "number" }, String(index + 1));
    const section = there || h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, number, title));
    if (!there) document.getElementById("main").append(section);
    section.append(...[content()].flat().filter(Boolean));
    return h("li", {}, h("a", { href: `#${id}` }, title));
  });
  document.getElementById("contents").append(h("ol", {}, links));
  window.addEventListener("hashchange", openFromHash);
  openFromHash();
}
