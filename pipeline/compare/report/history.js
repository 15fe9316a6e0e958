// What the models remember of replies that were cut short; and everything that failed.

function historySection() {
  const before = (turn) => DATA.turns.some((other) => other.conversation === turn.conversation && other.number === turn.number + 1 && other.interrupts);
  const after = (turn) => DATA.turns.find((other) => other.conversation === turn.conversation && other.number === turn.number + 1);
  const cut = DATA.turns.filter((turn) => turn.repeat && before(turn));
  if (!cut.length) return [h("p", {}, "No reply was interrupted.")];
  const rows = cut.map((turn) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("a", { href: `#turn-${turn.id}` }, `${turn.scenario} #${turn.number}`), h("span", { class: "under" }, `${turn.title}, rep. ${turn.repeat}`)),
      h("td", { class: "num" }, ms(after(turn)?.silence_ms)),
      h("td", { class: "text" }, turn.reply || NONE),
      h("td", { class: "text" }, turn.kept === null ? h("span", { class: "quiet" }, "not known") : turn.kept || h("span", { class: "quiet" }, "nothing")),
      h("td", { class: "text" }, checkList(turn.checks.filter((check) => check.kind.startsWith("history"))) || NONE),
    ),
  );
  const head = h("thead", {}, h("tr", {}, [["Interrupted reply"], ["Silent after (ms)", "num"], ["Reply"], ["Remembered"], ["Checks"]].map(([name, kind]) => h("th", { scope: "col", class: kind }, name))));
  const caption = "Replies that the user cut short. Silent after counts from the first voiced sample of the interruption to the last audible one of the reply. Reply is what was answered, Remembered what the model\u2019s history holds of it at the end of the conversation: it ought to end where the user stopped listening.";
  return [tableFigure(caption, h("table", { class: "histories" }, head, h("tbody", {}, rows)), "What is remembered of interrupted replies")];
}

function failureSection() {
  const found = [brokenTable(), failedTurns(), unmetChecks()].filter(Boolean);
  const out = [HEADER.left_out || []].flat().map((problem) => h("li", {}, settingText(problem)));
  const left = out.length ? [h("p", {}, "Left out:"), h("ul", {}, out)] : [];
  return found.length || left.length ? [...found, ...left] : [h("p", {}, "Nothing: every turn had a reply, and every check was met.")];
}

function plainTable(caption, label, names, rows) {
  const head = h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name))));
  const body = rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell))));
  return tableFigure(caption, h("table", { class: "plain" }, head, h("tbody", {}, body)), label);
}

function brokenTable() {
  if (!DATA.broken.length) return null;
  const rows = DATA.broken.map((one) => [
    one.title,
    `${one.scenario}, ${one.repeat ? `rep. ${one.repeat}` : "warm-up"}`,
    h("span", { class: one.status === "ok" ? null : "bad" }, one.status === "ok" ? "went on" : one.status),
    one.reason || `the connection was lost and made again ${plural(one.reconnects, "time", "times")}`,
  ]);
  return plainTable("Conversations that broke off, or lost their connection on the way.", "Conversations that broke off", ["Path", "Scenario", "Status", "Reason"], rows);
}

function failedTurns() {
  const bad = DATA.turns.filter((turn) => statusOf(turn) !== "ok");
  if (!bad.length) return null;
  const rows = bad.map((turn) => [
    turn.title,
    [h("a", { href: `#turn-${turn.id}` }, `${turn.scenario} #${turn.number}`), `, ${turn.repeat ? `rep. ${turn.repeat}` : "warm-up"}`],
    h("span", { class: "bad" }, statusOf(turn)),
    turn.reason || turn.conversation_reason || (turn.status === "ok" ? "a reply was told of, but none is audible in the WAV" : NONE),
  ]);
  return plainTable("Turns without a latency. They are in no distribution; each counts as failed, and its checks as not met.", "Turns that failed", ["Path", "Turn", "Status", "Reason"], rows);
}

/** Checks of turns that had a reply; those of the others failed with them. */
function unmetChecks() {
  const bad = DATA.turns.filter((turn) => turn.repeat).flatMap((turn) => turn.checks.filter((check) => check.met !== true).map((check) => [turn, check]));
  if (!bad.length) return null;
  const rows = bad.map(([turn, check]) => [
    turn.title,
    [h("a", { href: `#turn-${turn.id}` }, `${turn.scenario} #${turn.number}`), `, rep. ${turn.repeat}`],
    `${check.kind} ${check.wanted}`,
    check.met === null ? "nobody could tell" : check.found || statusOf(turn),
  ]);
  const table = plainTable("Checks that were not met, or that nobody could decide.", "Checks that were not met", ["Path", "Turn", "Wanted", "Found"], rows);
  return rows.length > 12 ? h("details", {}, h("summary", {}, `${plural(rows.length, "check", "checks")} not met or undecided`, DATA.stamp ? " " : null, stamped()), table) : table;
}
