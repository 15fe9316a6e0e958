// A turn's recording: the user on the left, the reply on the right; both sides or one of them.

const SIDES = [
  ["both", "Both"],
  ["left", "User (left)"],
  ["right", "Reply (right)"],
];

/** Plays one side of a stereo element on both ears; the graph is made when it is first wanted. */
function router(audio) {
  let gains = null;
  return (side) => {
    if (!gains && side === "both") return;
    if (!gains) {
      const context = new AudioContext();
      const splitter = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
      const merger = new ChannelMergerNode(context, { numberOfInputs: 2 });
      context.createMediaElementSource(audio).connect(splitter);
      gains = {};
      for (const from of [0, 1]) {
        for (const to of [0, 1]) {
          const gain = new GainNode(context);
          splitter.connect(gain, from);
          gain.connect(merger, 0, to);
          gains[`${from}${to}`] = gain;
        }
      }
      merger.connect(context.destination);
      audio.addEventListener("play", () => context.resume());
      context.resume();
    }
    const heard = { both: ["00", "11"], left: ["00", "01"], right: ["10", "11"] }[side];
    for (const [path, gain] of Object.entries(gains)) gain.gain.value = heard.includes(path) ? 1 : 0;
  };
}

/**
 * The player of a turn, or a line that says why there is none.
 *
 * A turn may have a `title`, and a `window` of its WAV as a media fragment, which begins at
 * `offset_s` of it.
 *
 * @param moved called with the position (ms on the turn's axis) while it plays and when it is set
 * @returns {{node: Element, seek: (ms: number) => void}}
 */
function player(turn, moved) {
  if (turn.sound === "none") {
    return { node: h("p", { class: "note" }, "No recording of this turn could be read."), seek() {} };
  }
  const inside = turn.sound === "inside";
  const source = inside
    ? `data:audio/flac;base64,${document.getElementById(`sound-${turn.id}`).textContent}`
    : turn.wav + (turn.window || "");
  const audio = h("audio", {
    controls: true,
    preload: inside ? "auto" : "none",
    src: source,
    "aria-label": `Recording of ${turn.title || `turn ${turn.id}`}`,
  });
  const skipped = inside ? 0 : turn.offset_s || 0;
  const report = () => moved(turn.wav_start_ms + (audio.currentTime - skipped) * 1000);
  const follow = () => {
    if (!audio.isConnected) audio.pause();
    report();
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    follow();
  });
  audio.addEventListener("seeked", report);
  const route = router(audio);
  const options = SIDES.map(([side, label]) =>
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        name: `side-${turn.id}`,
        value: side,
        checked: side === "both",
        disabled: !inside && side !== "both",
        onchange: () => route(side),
      }),
      label,
    ),
  );
  const links = turn.wav ? h("a", { href: turn.wav, download: true }, "WAV") : null;
  const why = inside ? null : h("span", { class: "note" }, "Too large to embed; played from the folder, both sides only.");
  const sides = h("fieldset", { class: "sides" }, h("legend", {}, "Listen to"), options);
  return {
    node: h("div", { class: "player" }, audio, sides, links, why),
    seek(at) {
      const seconds = (at - turn.wav_start_ms) / 1000;
      if (seconds >= 0 && seconds <= turn.seconds) audio.currentTime = seconds + skipped;
    },
  };
}

/** Heights (0 to 1) of a channel's waveform, one per `DATA.peak_ms`. */
function heights(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
