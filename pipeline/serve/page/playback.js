// The loudspeaker's end in the audio thread: plays what has arrived, item by item, and knows to the
// sample what was played of each.
//
// In: {id, pcm} more of an item, {id, end} all of it has arrived, {stop} be silent at once.
// Out: {id, played, ended, audible} how far an item is (samples; `audible`: the frame of its first
// audible sample), {stopped} all that was cut off: pairs of item and samples played.

const AUDIBLE = 10 ** (-50 / 20); // as `pipeline/audio/audible.py` has it
const REFILL = sampleRate / 10; // after a hole, so much is waited for: one hole is better than ten
const REPORT = 8; // blocks of 128: 43 ms

registerProcessor("playback", class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.items = [];
    this.stopped = []; // what was cut off, by each stop that is to be told
    this.blocks = 0;
    this.port.onmessage = ({ data }) => this.receive(data);
  }

  receive({ id, pcm, end, stop }) {
    if (stop) {
      // What comes after this message is not meant by it.
      this.stopped.push(this.items);
      this.items = [];
      return;
    }
    let item = this.items.find((each) => each.id === id);
    if (!item) {
      item = { id, pieces: [], at: 0, waiting: 0, needs: 0, played: 0, audible: null };
      this.items.push(item);
    }
    if (pcm) {
      item.pieces.push(new Int16Array(pcm));
      item.waiting += pcm.byteLength / 2;
    }
    item.ended ||= end;
  }

  process(_, [[out]]) {
    if (this.stopped.length) {
      this.stop(out);
      return true;
    }
    let filled = 0;
    while (filled < out.length && this.items.length) {
      filled = this.fill(out, filled, this.items[0]);
      if (!this.over(this.items[0])) break;
      this.report(this.items.shift());
    }
    if (this.items.length && ++this.blocks % REPORT === 0) this.report(this.items[0]);
    return true;
  }

  /** Play of an item into `out` from `start` on; gives where its sound ends there. */
  fill(out, start, item) {
    if (item.waiting < item.needs && !item.ended) return start;
    item.needs = 0;
    let place = start;
    for (; place < out.length && item.waiting; place++) {
      const value = item.pieces[0][item.at++] / 32768;
      if (item.audible === null && Math.abs(value) > AUDIBLE) {
        item.audible = currentFrame + place;
        this.report(item);
      }
      out[place] = value;
      item.waiting--;
      item.played++;
      if (item.at === item.pieces[0].length) {
        item.pieces.shift();
        item.at = 0;
      }
    }
    if (place < out.length && item.played) item.needs = REFILL;
    return place;
  }

  over(item) {
    return Boolean(item.ended && !item.waiting);
  }

  /** The last of what is stopped fades, for to break off would click. */
  stop(out) {
    const [item] = this.stopped.flat();
    if (item) this.fill(out, 0, item);
    for (let place = 0; place < out.length; place++) out[place] *= 1 - place / out.length;
    for (const items of this.stopped) {
      this.port.postMessage({ stopped: items.map(({ id, played }) => [id, played]) });
    }
    this.stopped = [];
  }

  report(item) {
    const { id, played, audible } = item;
    this.port.postMessage({ id, played, audible, ended: this.over(item) });
  }
});
