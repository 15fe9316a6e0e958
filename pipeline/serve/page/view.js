// How turns look. All text goes in as text.

import { words } from "./conversation.js";

/** An element; of its attributes `text` is what it says. */
export function h(tag, { text, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
}

/** Change a text only where it differs: what is selected in it stays so. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const NAMES = { user: "you", assistant: "cascade" };

/** Show the turns in a list, and keep its end in sight where it was. */
export class Transcript {
  #list;
  #shown = new Map();

  constructor(list) {
    this.#list = list;
  }

  show(turns) {
    const atEnd = window.innerHeight + window.scrollY > document.body.scrollHeight - 40;
    const visible = turns.filter(
      (turn) => turn.text || turn.image || (turn.role === "user" && !turn.done),
    );
    for (const [id, entry] of this.#shown) {
      if (visible.some((turn) => turn.id === id)) continue;
      entry.root.remove();
      this.#shown.delete(id);
    }
    for (const turn of visible) this.#entry(turn).draw(turn);
    if (atEnd) window.scrollTo({ top: document.body.scrollHeight });
  }

  #entry(turn) {
    const found = this.#shown.get(turn.id);
    if (found) return found;
    const entry = new Entry(turn.role);
    this.#shown.set(turn.id, entry);
    this.#list.append(entry.root);
    return entry;
  }
}

class Entry {
  constructor(role) {
    this.spoken = h("span", { class: "spoken" });
    this.word = h("mark");
    this.rest = h("span", { class: "quiet" });
    this.note = h("span", { class: "quiet" });
    const text = h("p", { dir: "auto" }, this.spoken, this.word, this.rest, this.note);
    this.timing = new Waterfall();
    const name = h("span", { class: "who", text: NAMES[role] });
    this.body = h("div", {}, text, this.timing.root);
    this.root = h("li", { class: role }, name, this.body);
  }

  draw(turn) {
    const [spoken, word, rest] = words(turn);
    put(this.spoken, spoken);
    put(this.word, word);
    put(this.rest, turn.role === "user" && !turn.done ? " …" : rest);
    put(this.note, turn.cut ? " …" : (turn.note ?? ""));
    if (turn.timing) this.timing.draw(turn.timing);
    if (turn.image && !this.image) {
      this.image = h("img", { src: turn.image, alt: turn.alt });
      this.body.prepend(this.image);
    }
  }
}

/**
 * Where the time of a turn went, as far as it is known: the server's parts where it tells them, and
 * what the page sees itself, from the user's last voice to the first sound that is heard.
 */
function parts({ said, stopped, sound, heard, parts: told }) {
  if (told && heard !== undefined) {
    const known = Object.entries(told).filter(([name, ms]) => ms > 0 && name !== "total");
    const rest = heard - said - known.reduce((sum, [, ms]) => sum + ms, 0);
    return rest > 0 ? [...known, ["device", rest]] : known;
  }
  const marks = [["endpoint", said, stopped], ["model", stopped, sound], ["device", sound, heard]];
  return marks.filter(([, from, to]) => to > from).map(([name, from, to]) => [name, to - from]);
}

const LABELS = { model: "answer", device: "line, device" };
const STAGES = /^(stt|llm|tts)/;

class Waterfall {
  constructor() {
    this.bar = h("span", { class: "bar", "aria-hidden": "true" });
    this.total = h("span", { class: "total" });
    this.rows = h("ol", { class: "fall" });
    const summary = h("summary", {}, this.total, this.bar);
    this.root = h("details", { class: "timing", hidden: "" }, summary, this.rows);
  }

  draw(timing) {
    const found = parts(timing);
    const key = JSON.stringify([found, timing.heard]);
    if (key === this.key) return;
    this.key = key;
    const whole = found.reduce((sum, [, ms]) => sum + ms, 0);
    const total = timing.heard === undefined ? whole : timing.heard - timing.said;
    this.root.hidden = false;
    this.total.textContent = `voice-to-voice ${total.toFixed(0)} ms${timing.heard ? "" : " …"}`;
    let before = 0;
    const drawn = found.map(([name, ms]) => {
      const [width, start] = [ms / whole, before / whole];
      before += ms;
      const segment = h("i", { class: `c-${name}` });
      segment.style.flexGrow = width;
      const block = h("i", { class: `c-${name}` });
      block.style.insetInlineStart = `${100 * start}%`;
      block.style.inlineSize = `${100 * width}%`;
      const said = name.replaceAll("_", " ").replace(STAGES, (stage) => stage.toUpperCase());
      const label = LABELS[name] ?? said;
      const track = h("span", { class: "track", "aria-hidden": "true" }, block);
      return [segment, h("li", {}, h("span", { text: label }), track, `${ms.toFixed(0)} ms`)];
    });
    this.bar.replaceChildren(...drawn.map(([segment]) => segment));
    this.rows.replaceChildren(...drawn.map(([, row]) => row));
  }
}
