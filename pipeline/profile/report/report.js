// Puts the page together: header, sections, links.

const HEADER = DATA.header;
const VARIANTS = DATA.variants;

function stats(name) {
  return DATA.summary.variants[name] || { n: 0, failed: 0 };
}

/** A median with its interval beside it; where no variant has intervals, without room for one. */
function withInterval(value, stats) {
  const any = DATA.variants.some((name) => interval(DATA.summary.variants[name]?.voice_to_voice_ms));
  return [value, any ? h("span", { class: "ci" }, interval(stats)) : null];
}

function heading() {
  const models = Object.entries(HEADER.models || {}).filter(([, name]) => name);
  const repeats = new Set(MEASURED.map((turn) => turn.repeat)).size;
  const files = new Set(MEASURED.map((turn) => turn.file)).size;
  const size = [
    plural(VARIANTS.length, "variant", "variants"),
    plural(files, "recording", "recordings"),
    plural(repeats, "repetition", "repetitions"),
    plural(MEASURED.length, "turn", "turns"),
  ];
  const warnings = DATA.summary.warnings || [];
  const top = document.getElementById("top");
  top.append(
    h("h1", {}, "Cascade profile"),
    h("p", { class: "lead" }, "Voice-to-voice latency: from the user\u2019s last word to the first audible sample of the reply."),
    h("p", { class: "meta" }, [HEADER.started && startedText(HEADER.started), ...size].filter(Boolean).join(" \u00b7 ")),
    h("p", { class: "meta" }, models.map(([kind, name]) => `${kind} ${name}`).join(" \u00b7 ")),
  );
  if (HEADER.interrupted) top.append(h("p", { class: "notice", role: "note" }, h("b", {}, "The run was interrupted. "), "What follows is what was measured until then."));
  if (warnings.length) {
    const items = warnings.map((text) => h("li", {}, text));
    top.append(h("aside", { class: "notice", "aria-label": "Warnings" }, h("b", {}, "To bear in mind"), h("ul", {}, items)));
  }
}

function summaryTable() {
  const rows = VARIANTS.map((name) => {
    const { n, failed, unmeasurable, voice_to_voice_ms: total, disagreement_ms: apart } = stats(name);
    const middle = h("td", { class: "num" }, withInterval(h("b", {}, ms(total?.median)), total));
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      middle,
      numbers(String(n), String(unmeasurable || 0)),
      h("td", { class: "num" }, h("span", { class: failed ? "bad" : null }, String(failed))),
      numbers(ms(total?.p90), ms(total?.p95), ms(total?.max)),
      numbers(apart ? `${ms(apart.median)} / ${ms(apart.max)}` : NONE),
    );
  });
  const head = columns("Variant", "Median [95 %]", "n", "Unmeasurable", "Failed", "p90", "p95", "Max", "WAV to trace");
  const caption = "Voice-to-voice latency by the WAV, in ms, with the 95 % interval of the median. Unmeasurable counts turns that were answered, but where noise after the speech hides when it ended; Failed counts turns without a reply, time-outs among them; both are in no other column. WAV to trace: by how much the two disagreed, median and largest.";
  return tableFigure(caption, h("table", {}, head, h("tbody", {}, rows)), "Summary of each variant");
}

/** How each variant differs from the first, paired; null with one variant. */
function differenceTable() {
  const rows = VARIANTS.map((name) => [name, stats(name).against_first]).filter(([, against]) => against?.voice_to_voice_ms);
  if (!rows.length) return null;
  const body = rows.map(([name, against]) => {
    const total = against.voice_to_voice_ms;
    const moved = (against.moved || []).map((part) => `${PART[part]?.label || part} ${signed(against.parts_ms?.[part]?.median)}`);
    const verdict = total.within_noise ? `${total.verdict}, within the machine\u2019s noise` : total.verdict;
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      h("td", { class: "num" }, withInterval(h("b", {}, signed(total.median)), total)),
      numbers(typeof total.relative === "number" ? `${(100 * total.relative).toFixed(0)} %`.replace("-", MINUS) : NONE, String(total.n)),
      h("td", {}, verdict),
      h("td", { class: "words" }, moved.join(", ") || NONE),
    );
  });
  const head = h("thead", {}, h("tr", {}, ["Variant", "Difference [95 %]", "Relative", "Pairs", "Verdict", "Parts that moved (ms)"].map((name, index) => h("th", { scope: "col", class: index > 0 && index < 4 ? "num" : null }, name))));
  const caption = `Difference from ${rows[0][1].variant}, in ms: the median over pairs of the same recording and repetition; negative is faster.`;
  return tableFigure(caption, h("table", {}, head, h("tbody", {}, body)), "Differences between variants");
}

/** Level and noise of each recording; null of runs that did not tell. */
function soundTable() {
  const recordings = Object.entries(DATA.summary.sound || {});
  if (!recordings.length) return null;
  const rows = recordings.map(([file, one]) => h("tr", {}, h("th", { scope: "row" }, file), numbers(decibels(one.level_dbfs), typeof one.snr_db === "number" ? decibels(one.level_dbfs - one.snr_db) : NONE, decibels(one.snr_db)), h("td", {}, one.end_of_speech)));
  const caption = "The recordings: the voice and the noise when it is over, in dBFS (100 Hz to 8 kHz), and their distance in dB. Where the end of the speech is not labelled it is found 17 dB below the voice\u2019s loudest moment, so that neither gain nor noise from 15 dB down moves it; people who label the same recording agree to some 50 ms.";
  return tableFigure(caption, h("table", {}, columns("Recording", "Voice", "Noise", "SNR", "End of speech by"), h("tbody", {}, rows)), "Sound of each recording");
}

function partsSummary() {
  const value = (one) => withInterval(ms(one?.median), one);
  const hidden = PARTS.filter((part) => VARIANTS.some((name) => stats(name).hidden_ms?.[part.name]?.median > 0.05));
  const line = (part, kind, isHidden) => {
    const label = isHidden ? `${part.label}, hidden` : part.label;
    return h("tr", {}, h("th", { scope: "row" }, swatch(part.name, isHidden), " ", label), h("td", { class: "quiet wide" }, part.owner), VARIANTS.map((name) => h("td", { class: "num" }, value(stats(name)[kind]?.[part.name]))));
  };
  const head = h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Part"), h("th", { scope: "col", class: "wide" }, "Owner"), VARIANTS.map((name) => h("th", { scope: "col", class: "num" }, name))));
  const body = h("tbody", {}, PARTS.map((part) => line(part, "parts_ms", false)));
  const below = hidden.length ? h("tbody", { class: "apart" }, hidden.map((part) => line(part, "hidden_ms", true))) : null;
  return tableFigure("Median of each part with its 95 % interval, in ms. Medians of parts need not sum to the median of the whole; the means in Figure 1 do sum to the trace\u2019s mean.", h("table", {}, head, body, below), "Median of each part");
}

function timeSection() {
  const caption = "Mean of each part in ms after the true end of speech, as traced: what the user waited for. The hatched strip above each bar is work that overlapping and speculation did before the commit (vertical line), so that nobody waited for it. The ring and its line below are the median by the WAV and its 95 % interval.";
  return [legend(), figure(caption, bars()), partsSummary()];
}

function distributionSection() {
  const total = distribution("total", "Voice-to-voice (ms, by the WAV)", true);
  if (!total) return [h("p", {}, "No turn had a reply: there is nothing to draw.")];
  const parts = PARTS.map((part) => distribution(part.name, `${part.label} (ms)`, false)).filter(Boolean);
  const marks = "Vertical lines: median (solid) with its 95 % interval (band), 90th percentile (dotted).";
  return [
    figure(["Each dot is a turn; it opens in Section 4. The step line is the share of turns at or below. ", marks], total),
    figure(["The same for each part, by the trace; each panel has its own axis. ", marks], h("div", { class: "panels" }, parts)),
  ];
}

function turnSection() {
  const list = turnTable(MEASURED, "All measured turns", true);
  lists.push(list);
  return [h("p", {}, "A row opens the turn: its waterfall, both sides of its sound, and its marks."), list.node];
}

function failureSection() {
  const bad = MEASURED.filter((turn) => statusOf(turn) !== "ok");
  const out = [HEADER.left_out || []].flat().map((problem) => h("li", {}, settingText(problem)));
  const left = out.length ? [h("p", {}, "Recordings that were left out:"), h("ul", { class: "left" }, out)] : [];
  if (!bad.length) return [h("p", {}, MEASURED.length ? "None: every turn had a reply." : "No turn was measured."), ...left];
  const rows = bad.map((turn) =>
    h(
      "tr",
      {},
      h("td", {}, h("a", { href: `#turn-${turn.id}` }, turn.file), h("span", { class: "narrow" }, `${turn.variant}, rep. ${turn.repeat}`)),
      h("td", { class: "wide" }, turn.variant),
      h("td", { class: "wide num" }, String(turn.repeat)),
      h("td", {}, h("span", { class: "bad" }, statusOf(turn))),
      h("td", {}, turn.reason || (turn.status === "ok" ? "a reply was traced, but none is audible in the WAV" : NONE)),
    ),
  );
  const head = h("thead", {}, h("tr", {}, [["File"], ["Variant", "wide"], ["Rep.", "wide num"], ["Status"], ["Reason"]].map(([name, kind]) => h("th", { scope: "col", class: kind }, name))));
  return [tableFigure("Turns without a latency, which are in no distribution. Unmeasurable ones were answered; the others count as failed.", h("table", {}, head, h("tbody", {}, rows)), "Failures and time-outs"), ...left];
}

function warmSection() {
  const warm = TURNS.filter((turn) => turn.repeat === 0);
  if (!warm.length) return [h("p", {}, "The run had no warm-up.")];
  const list = turnTable(warm, "Warm-up turns", false);
  lists.push(list);
  return [h("p", {}, "The first turns of each variant load models and fill caches. They are in no figure above."), list.node];
}

function conditionSection() {
  const noise = HEADER.noise || {};
  const steady = typeof noise.relative === "number" ? h("p", {}, `A fixed piece of work, timed ${noise.readings} times between the turns, varied by ${(100 * noise.relative).toFixed(1)} %; differences below that may be the machine\u2019s.`) : null;
  const known = ["started", "interrupted", "left_out", "models", "settings", "variants", "machine", "versions", "noise"];
  const other = Object.fromEntries(Object.entries(HEADER).filter(([name]) => !known.includes(name)));
  const blocks = [
    ["Variants", HEADER.variants],
    ["Machine", HEADER.machine],
    ["Noise", HEADER.noise],
    ["Models", HEADER.models],
    ["Versions", HEADER.versions],
    ["Run", { started: HEADER.started, ...other }],
  ].map(([title, value]) => facing(title, value, true));
  const all = facing("Settings", HEADER.settings);
  const settings = all && h("details", {}, h("summary", {}, "All settings"), h("div", { class: "columns" }, all));
  return [steady, h("div", { class: "columns" }, blocks), settings];
}

const SECTIONS = [
  ["Summary", () => [summaryTable(), differenceTable()]],
  ["Where the time went", timeSection],
  ["Distributions", distributionSection],
  ["Turns", turnSection],
  ["Failures and time-outs", failureSection],
  ["Warm-up", warmSection],
  ["Conditions", () => [soundTable(), ...conditionSection()]],
];

hatches();
heading();
assemble(SECTIONS);
