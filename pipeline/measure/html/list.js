// A table that can be sorted and filtered, and whose rows open what there is to see beneath them.

const STEP = 100;

/**
 * @param plan how the table is made:
 *   `rows`; `label` of the table; `noun` of a row, one and many; `columns`, each with `key`, `label`,
 *   and optionally `title`, `number`, `wide` (left out on a phone), `text`, `value(row)` to sort by,
 *   `cell(row)` to show, `opens` (it has the button that opens the row); `id(row)` of the row's element;
 *   `holds(row, turn)`: whether a link to this turn means the row; `detail(row)`: what opens;
 *   `filters`, each with `label`, `options`, `fits(row, option, options chosen in all filters)`; `words(row)` to search in, with
 *   `hint`, or no `words` for a table without a search; `under(row)` to show below the button on a
 *   phone.
 * @returns {{node: Element, reveal: (turn: number) => boolean}}
 */
function listing(plan) {
  const state = { plan, sort: null, down: false, shown: STEP, made: new Map() };
  state.body = h("tbody");
  state.heads = plan.columns.map((column) => headCell(state, column));
  const table = h("table", { class: "turns" }, h("caption", { class: "hidden" }, stamped(), plan.label));
  table.append(h("thead", {}, h("tr", {}, state.heads)), state.body);
  state.more = h("button", { type: "button", class: "more", onclick: () => ((state.shown += STEP), list(state)) });
  state.count = h("output", { "aria-live": "polite" });
  const tools = plan.words ? filterBar(state) : null;
  list(state);
  return { node: h("div", { class: "turnlist" }, tools, table, state.more), reveal: (turn) => revealTurn(state, turn) };
}

function columnClass(column) {
  return [column.number && "num", column.wide && "wide", column.text && "text", column.opens && "file"].filter(Boolean).join(" ") || null;
}

function headCell(state, column) {
  const name = column.key;
  const act = () => {
    state.down = state.sort === column ? !state.down : false;
    state.sort = column;
    list(state);
  };
  const button = h("button", { type: "button", title: column.title, onclick: act }, column.label);
  return h("th", { scope: "col", class: columnClass(column), "data-key": name }, button);
}

function filterBar(state) {
  const again = () => ((state.shown = STEP), list(state));
  state.filters = state.plan.filters.map(({ label, options, fits }) => {
    const all = [h("option", { value: "" }, "all"), ...options.map((name) => h("option", { value: name }, name))];
    const select = h("select", { onchange: again }, all);
    return { select, fits, node: h("label", {}, label, select) };
  });
  state.search = h("input", { type: "search", placeholder: state.plan.hint, oninput: again });
  return h("div", { class: "filters" }, state.filters.map(({ node }) => node), h("label", {}, "Contains", state.search), state.count);
}

function chosen(state) {
  const words = (state.search?.value || "").toLowerCase();
  const found = state.plan.rows.filter((row) => {
    const values = (state.filters || []).map(({ select }) => select.value);
    for (const [index, { fits }] of (state.filters || []).entries()) if (values[index] && !fits(row, values[index], values)) return false;
    return !words || state.plan.words(row).toLowerCase().includes(words);
  });
  return state.sort ? found.sort((a, b) => compare(a, b, state)) : found;
}

function sortValue(row, column) {
  const value = column.value ? column.value(row) : row[column.key];
  return value === undefined || value === "" ? null : value;
}

/** Rows without a value come last, whichever way the column is sorted. */
function compare(one, other, { sort, down }) {
  const [a, b] = [sortValue(one, sort), sortValue(other, sort)];
  const [noA, noB] = [a === null, b === null];
  if (noA || noB) return noA - noB;
  const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
  return down ? -order : order;
}

function list(state) {
  const { plan } = state;
  const found = chosen(state);
  const visible = found.slice(0, state.shown);
  state.body.replaceChildren(...visible.flatMap((row) => rowsOf(state, row)));
  if (!found.length) state.body.append(h("tr", {}, h("td", { colspan: plan.columns.length, class: "note" }, `No ${plan.noun[0]} fits.`)));
  state.count.textContent = `${found.length} of ${plural(plan.rows.length, ...plan.noun)}`;
  state.more.hidden = found.length <= state.shown;
  state.more.textContent = `Show ${Math.min(STEP, found.length - state.shown)} more`;
  for (const head of state.heads) {
    if (head.dataset.key === state.sort?.key) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function rowsOf(state, row) {
  const made = state.made.get(row) || makeRow(state, row);
  state.made.set(row, made);
  return made.detail ? [made.line, made.detail] : [made.line];
}

function makeRow(state, row) {
  const { plan } = state;
  const made = { detail: null };
  const toggle = () => {
    made.detail = made.detail ? (made.detail.remove(), null) : detailRow(plan, row);
    if (made.detail) made.line.after(made.detail);
    made.button.setAttribute("aria-expanded", String(Boolean(made.detail)));
    made.line.classList.toggle("open", Boolean(made.detail));
  };
  const cells = plan.columns.map((column) => {
    const value = column.cell ? column.cell(row) : row[column.key];
    const content = value === "" || value === null || value === undefined ? NONE : value;
    if (!column.opens) return h("td", { class: columnClass(column) }, content);
    made.button = h("button", { type: "button", class: "open", "aria-expanded": "false", onclick: toggle }, content);
    return h("td", { class: "file" }, made.button, plan.under ? h("span", { class: "narrow" }, plan.under(row)) : null);
  });
  const click = (event) => {
    if (!event.target.closest("button, a") && !String(getSelection())) toggle();
  };
  made.line = h("tr", { class: "turn", id: plan.id(row), onclick: click }, cells);
  made.show = () => made.detail || toggle();
  return made;
}

function detailRow(plan, row) {
  const content = h("div", { class: "detail" }, ...plan.detail(row));
  return h("tr", { class: "detailrow" }, h("td", { colspan: plan.columns.length }, content));
}

/** Opens the row of a turn and brings it into view, past filters and the limit of rows. */
function revealTurn(state, turn) {
  const row = state.plan.rows.find((one) => state.plan.holds(one, turn));
  if (!row) return false;
  let at = chosen(state).indexOf(row);
  if (at < 0) {
    for (const control of [...(state.filters || []).map(({ select }) => select), state.search]) control.value = "";
    at = chosen(state).indexOf(row);
  }
  state.shown = Math.max(state.shown, Math.ceil((at + 1) / STEP) * STEP);
  list(state);
  const made = state.made.get(row);
  made.show();
  made.line.scrollIntoView({ block: "start" });
  made.button.focus({ preventScroll: true });
  return true;
}

function decibels(value) {
  return typeof value === "number" ? value.toFixed(0).replace("-", MINUS) : NONE;
}

/** How loud the voice in a turn's recording is, and the noise; null if that is not known. */
function soundText(turn) {
  return typeof turn.snr_db === "number" ? `voice at ${decibels(turn.level_dbfs)} dBFS, ${decibels(turn.snr_db)} dB above the noise` : null;
}

/** Names and values of a thing, those that have any. */
function factList(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, text]) => text).map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
}

/** What the waterfall of a turn shows, for those who rather read it. */
function partsTable(turn) {
  const line = (...cells) => h("tr", {}, cells.map((text, index) => h(index ? "td" : "th", index ? { class: "num" } : { scope: "row" }, text)));
  const head = (...names) => h("thead", {}, h("tr", {}, names.map((name, index) => h("th", { scope: "col", class: index ? "num" : null }, name))));
  const mine = PARTS.filter((part) => turn.parts && part.name in turn.parts);
  const parts = turn.parts && h(
    "table",
    {},
    hiddenCaption("Parts"),
    head("Part", "Waited (ms)", "Hidden (ms)"),
    h("tbody", {}, mine.map((part) => line([swatch(part.name), ` ${part.label}`].flat(), ms(turn.parts[part.name]), ms(turn.hidden[part.name])))),
    h("tfoot", {}, line("sum, by the trace", ms(turn.trace_ms), "")),
  );
  const marks = turn.marks.length ? h("table", {}, hiddenCaption("Marks"), head("Mark", "At (ms)"), h("tbody", {}, turn.marks.map(([name, at]) => line(name, ms(at))))) : null;
  return parts || marks ? h("details", {}, h("summary", {}, "Parts and marks as tables"), h("div", { class: "pair" }, parts, marks)) : null;
}
