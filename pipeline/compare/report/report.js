// Puts the page together: header, sections, links.

const HEADER = DATA.header;

const DRAWN = {
  verdict: () => [],
  paths: pathSection,
  latency: latencySection,
  curves: curveSection,
  utterances: utteranceSection,
  history: historySection,
  failures: failureSection,
  method: methodSection,
};

function heading() {
  const counted = DATA.turns.filter((turn) => turn.repeat);
  const size = [
    plural(PATHS.length, "path", "paths"),
    plural(new Set(counted.map((turn) => turn.scenario)).size, "scenario", "scenarios"),
    plural(new Set(counted.map((turn) => turn.repeat)).size, "repetition", "repetitions"),
    plural(counted.length, "turn", "turns"),
  ];
  const machine = HEADER.machine || {};
  const models = Object.entries(HEADER.models || {}).filter(([, name]) => name);
  const where = [machine.processor, machine.cores && plural(machine.cores, "core", "cores"), machine.system].filter(Boolean);
  const top = document.getElementById("top");
  top.append(
    h("h1", {}, "Cascade comparison"),
    h("p", { class: "lead" }, "The same words, spoken to each of these:"),
    h("ul", { class: "compared" }, PATHS.map((path, index) => h("li", {}, pathName(index), path.model || path.host ? h("span", { class: "quiet" }, ` ${[path.model, path.host && `at ${path.host}`].filter(Boolean).join(" ")}`) : null))),
    h("p", { class: "meta" }, [HEADER.started && startedText(HEADER.started), ...size].filter(Boolean).join(" \u00b7 ")),
    h("p", { class: "meta" }, where.join(" \u00b7 ")),
    h("p", { class: "meta" }, models.map(([kind, name]) => `${kind} ${settingText(name)}`).join(" \u00b7 ")),
  );
  const played = PATHS.filter((path) => path.simulated);
  if (played.length) {
    const items = played.map((path) => h("li", {}, h("b", {}, path.label), ": ", Object.entries(path.simulation).map(([name, value]) => `${name}: ${value}`).join("; ")));
    top.append(h("aside", { class: "notice", "aria-label": "Simulated paths" }, h("b", {}, `${DATA.stamp}: what the local servers replayed`), h("ul", {}, items)));
  }
  if (HEADER.interrupted) top.append(h("p", { class: "notice", role: "note" }, h("b", {}, "The run was interrupted. "), "What follows is what was measured until then."));
  if (DATA.warnings.length) top.append(h("aside", { class: "notice", "aria-label": "Warnings" }, h("b", {}, "To bear in mind"), h("ul", {}, DATA.warnings.map((text) => h("li", {}, text)))));
}

hatches();
heading();
assemble(DATA.sections.map(([name, title]) => [title, DRAWN[name]]));
