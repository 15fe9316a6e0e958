// Microphone and loudspeaker: what the audio thread hears and plays, on the clock of the page (ms).

export const RATE = 24000;

async function opened(rate, module) {
  const context = new AudioContext(rate ? { sampleRate: rate } : {});
  await context.audioWorklet.addModule(new URL(module, import.meta.url));
  await context.resume();
  return context;
}

/** Plays items; `told` learns how far each is: {id, played, ended, audibleAt}. */
export class Speaker {
  #told;
  #opening = null;
  #context = null;
  #node = null;
  #stopped = [];

  constructor(told) {
    this.#told = told;
  }

  /** Browsers let a page sound only once somebody has pressed something. */
  open() {
    this.#opening ??= this.#open();
    return this.#opening;
  }

  async #open() {
    this.#context = await opened(RATE, "playback.js");
    const options = { numberOfInputs: 0, outputChannelCount: [1] };
    this.#node = new AudioWorkletNode(this.#context, "playback", options);
    this.#node.port.onmessage = ({ data }) => this.#receive(data);
    this.#node.connect(this.#context.destination);
  }

  #receive({ stopped, audible, ...about }) {
    if (stopped) this.#stopped.shift()(stopped);
    else this.#told({ ...about, audibleAt: audible === null ? null : this.#heardAt(audible) });
  }

  #heardAt(frame) {
    const { contextTime, performanceTime } = this.#context.getOutputTimestamp();
    return performanceTime + (frame / RATE - contextTime) * 1000;
  }

  /** Samples that are still on their way through the device: played, and not yet heard. */
  get ahead() {
    return (this.#context?.outputLatency ?? 0) * RATE;
  }

  /** What is asked for before the loudspeaker is open is done, in order, once it is. */
  async #ask(message, ...moved) {
    await this.open();
    this.#node.port.postMessage(message, moved);
  }

  play(id, pcm) {
    this.#ask({ id, pcm }, pcm);
  }

  end(id) {
    this.#ask({ id, end: true });
  }

  /** Be silent at once; gives what was cut off, as pairs of item and samples played. */
  stop() {
    if (!this.#opening) return Promise.resolve([]);
    this.#ask({ stop: true });
    return new Promise((done) => this.#stopped.push(done));
  }
}

/** Hears; `heard` is given each 20 ms: {pcm, level}, 24 kHz, and the level's root mean square. */
export class Microphone {
  #context = null;
  #track = null;

  get isOpen() {
    return this.#track !== null;
  }

  /** Listen; `lost` is called when the device is gone. Throws what `getUserMedia` throws. */
  async open(heard, lost) {
    const echoCancellation = true, noiseSuppression = true, autoGainControl = true;
    const audio = { channelCount: 1, echoCancellation, noiseSuppression, autoGainControl };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    [this.#track] = stream.getAudioTracks();
    this.#track.onended = lost;
    this.#context = await opened(null, "capture.js");
    const options = { channelCount: 1, channelCountMode: "explicit", outputChannelCount: [1] };
    const node = new AudioWorkletNode(this.#context, "capture", options);
    node.port.onmessage = ({ data }) => this.isOpen && heard(data);
    this.#context.createMediaStreamSource(stream).connect(node).connect(this.#context.destination);
  }

  close() {
    this.#track?.stop();
    this.#context?.close();
    this.#track = this.#context = null;
  }
}

/** Finds out when a voice was last heard, in a stream of levels. */
export class Voice {
  static #KEPT_MS = 20000;
  static #BELOW = 10 ** (-17 / 20); // of the loudest moment; the profiler's rule for recordings
  #levels = [];

  hear(level, at) {
    this.#levels.push({ level, at });
    while (this.#levels[0].at < at - Voice.#KEPT_MS) this.#levels.shift();
  }

  /** The end of the last voiced moment since a time; undefined if nothing was heard since. */
  lastSince(start) {
    const since = this.#levels.filter(({ at }) => at >= start);
    const loudest = Math.max(...since.map(({ level }) => level));
    return since.findLast(({ level }) => level >= loudest * Voice.#BELOW)?.at;
  }
}
