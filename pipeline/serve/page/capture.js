// The microphone's end in the audio thread: its sound at 24 kHz, in pieces, with the level of each.

const RATE = 24000;
const PIECE = RATE / 50; // samples: 20 ms
const CROSSINGS = 16; // of zero, on each side of the filter's middle

/**
 * Changes the rate of a stream: a windowed sinc, one kernel for each place that a sample of the
 * output can have between two of the input. Browsers resample a microphone themselves, but Firefox
 * refuses to, and so all of them are treated alike.
 */
class Resampler {
  constructor(from, to) {
    let shared = from;
    for (let rest = to; rest; ) [shared, rest] = [rest, shared % rest];
    this.step = from / shared;
    this.phases = to / shared;
    const cutoff = Math.min(1, to / from) * 0.95;
    this.half = Math.ceil(CROSSINGS / cutoff);
    this.kernels = Array.from({ length: this.phases }, (_, phase) => this.kernel(phase, cutoff));
    this.held = new Float32Array(this.half);
    this.at = 0; // the next output's place after the middle of `held`, in phases
  }

  kernel(phase, cutoff) {
    const taps = Float64Array.from({ length: 2 * this.half }, (_, k) => {
      const x = k - this.half + 1 - phase / this.phases;
      const sinc = x ? Math.sin(Math.PI * cutoff * x) / (Math.PI * x) : cutoff;
      return sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / this.half));
    });
    const sum = taps.reduce((total, tap) => total + tap);
    return taps.map((tap) => tap / sum);
  }

  /** Give `sample` each sample at the new rate that this input makes possible. */
  take(input, sample) {
    const sound = new Float32Array(this.held.length + input.length);
    sound.set(this.held);
    sound.set(input, this.held.length);
    const last = sound.length - 2 * this.half;
    let first = Math.floor(this.at / this.phases);
    for (; first <= last; first = Math.floor(this.at / this.phases)) {
      const kernel = this.kernels[this.at % this.phases];
      let sum = 0;
      for (let k = 0; k < kernel.length; k++) sum += kernel[k] * sound[first + k];
      sample(sum);
      this.at += this.step;
    }
    const gone = Math.min(first, sound.length);
    this.held = sound.slice(gone);
    this.at -= gone * this.phases;
  }
}

registerProcessor("capture", class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE);
    this.piece = new Int16Array(PIECE);
    this.length = 0;
    this.power = 0;
  }

  process([[sound]]) {
    if (sound) this.resampler.take(sound, (value) => this.push(value));
    return true;
  }

  push(value) {
    this.piece[this.length++] = Math.round(Math.max(-1, Math.min(1, value)) * 32767);
    this.power += value * value;
    if (this.length < PIECE) return;
    const level = Math.sqrt(this.power / PIECE);
    this.port.postMessage({ pcm: this.piece.buffer, level }, [this.piece.buffer]);
    this.piece = new Int16Array(PIECE);
    this.length = this.power = 0;
  }
});
