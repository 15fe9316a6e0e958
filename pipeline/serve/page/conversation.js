// The conversation as the page knows it: who said what, how far it was heard, how long it took.
// It speaks the Realtime protocol, and draws nothing.

import { RATE, Voice } from "./sound.js";

const LEAST_MS = 100; // of sound in a turn that is ended by hand, as the protocol demands
const KEPT = 200; // turns
const LATENCY = "cascade.latency_ms"; // in a response's metadata: JSON of parts in ms
const WORDS = new Intl.Segmenter(undefined, { granularity: "word" });
const HARMLESS = ["response_cancel_not_active"];

/** How many characters of a turn's text have been spoken by its sample `played`. */
function reached({ text, points, complete }, played) {
  const next = points.findIndex(([sample]) => sample > played);
  if (next < 0) return complete ? text.length : points.at(-1)[1];
  const [[from, first], [to, last]] = [points[next - 1], points[next]];
  return Math.floor(first + ((last - first) * (played - from)) / (to - from));
}

/** A turn's text in three: spoken, the word that is being spoken, still to come. */
export function words(turn) {
  const { text } = turn;
  if (turn.done || turn.cut || !turn.sound) return [text, "", ""];
  const found = WORDS.segment(text).containing(reached(turn, Math.max(0, turn.heard)) - 1);
  if (!found) return ["", "", text];
  const end = found.index + found.segment.length;
  return [text.slice(0, found.index), found.segment, text.slice(end)];
}

/** `send` is given events, `changed` the turn that changed, `failed` what to tell in words. */
export class Conversation {
  turns = [];
  response = null; // the one that is under way: {id, timing}
  playing = null; // the turn that is being heard
  hearing = false;
  manual = false;
  #line = 0; // which connection this is
  #voice = new Voice();
  #began = 0;
  #ended = null; // {said, stopped}: of the turn that is answered next (ms)
  #waiting = false; // to be answered, once the response under way is over
  #sent = 0; // ms of sound since the turn was begun by hand

  constructor({ send, speaker, changed, failed, session }) {
    Object.assign(this, { send, speaker, changed, failed, session });
  }

  /** The microphone's next piece. */
  hear({ pcm, level }) {
    this.#voice.hear(level, performance.now());
    if (this.manual && !this.hearing) return;
    const audio = btoa(String.fromCharCode(...new Uint8Array(pcm)));
    if (this.send({ type: "input_audio_buffer.append", audio })) this.#sent += pcm.byteLength / 48;
  }

  /** Say something in writing. */
  say(text) {
    this.interrupt(true);
    const id = `typed_${Date.now()}`;
    this.#turn(id, "user", text).done = true;
    this.#ended = { said: performance.now(), stopped: performance.now() };
    this.send({ type: "conversation.item.create", item: item({ id, role: "user", text }) });
    this.#ask();
  }

  /** The user's turn begins by hand. */
  begin() {
    this.interrupt(true);
    this.send({ type: "input_audio_buffer.clear" });
    this.hearing = true;
    this.#began = performance.now();
    this.#sent = 0;
    this.changed();
  }

  /** The user's turn ends by hand. */
  finish() {
    if (!this.hearing) return;
    this.#stopped();
    if (this.#sent < LEAST_MS) {
      this.send({ type: "input_audio_buffer.clear" });
    } else {
      this.send({ type: "input_audio_buffer.commit" });
      this.#ask();
    }
    this.changed();
  }

  /** Be silent at once, and let the server forget what was not heard. */
  async interrupt(cancel = false) {
    if (cancel && this.response) this.send({ type: "response.cancel" });
    this.#waiting = false;
    const open = this.turns.filter((turn) => turn.role === "assistant" && !turn.done);
    for (const turn of open) turn.cut = true;
    const stopped = new Map(await this.speaker.stop());
    for (const turn of open) {
      if (stopped.has(turn.id)) this.#truncate(turn, stopped.get(turn.id));
      else if (turn.sound) [turn.cut, turn.done] = [false, true]; // it had just ended
      else turn.text = "";
    }
    this.playing = null;
    this.changed();
  }

  /** Of a reply nothing is kept after that sample, here and at the server. */
  #truncate(turn, played) {
    const place = reached(turn, played);
    const word = WORDS.segment(turn.text).containing(place);
    turn.text = turn.text.slice(0, word ? word.index : place).trim();
    turn.truncated = true;
    if (turn.line !== this.#line) return;
    const audio_end_ms = Math.floor((played * 1000) / RATE);
    const where = { item_id: turn.id, content_index: 0, audio_end_ms };
    this.send({ type: "conversation.item.truncate", ...where });
  }

  /** How far an item is played. */
  played({ id, played, ended, audibleAt }) {
    const turn = this.turns.find((each) => each.id === id);
    if (!turn || turn.cut) return;
    this.playing = ended ? null : turn;
    turn.done = ended;
    turn.heard = played - this.speaker.ahead;
    if (turn.timing && audibleAt !== null) turn.timing.heard ??= audibleAt;
    this.changed(turn);
  }

  /** The server's next event. */
  receive(event) {
    const { type } = event;
    if (type === "session.created") this.#greet();
    else if (type === "input_audio_buffer.speech_started") this.#started(event.item_id);
    else if (type === "input_audio_buffer.speech_stopped") this.#stopped();
    else if (type === "input_audio_buffer.committed") this.#turn(event.item_id, "user").kept = true;
    else if (type.startsWith("conversation.item.input_audio_transcription.")) this.#understood(event);
    else if (type.startsWith("response.")) this.#answered(event);
    else if (type === "error" && !HARMLESS.includes(event.error.code)) {
      this.failed(event.error.message);
    }
  }

  /** A new connection knows nothing of what was said on the one before. */
  #greet() {
    this.#line++;
    this.response = null;
    this.hearing = false;
    this.send({ type: "session.update", session: this.session() });
    this.turns = this.turns.filter((turn) => turn.text || turn.kept);
    // Of a reply that the old one broke off, what has arrived is all.
    for (const turn of this.turns.filter(({ role, done }) => role === "assistant" && !done)) {
      turn.complete = true;
      this.speaker.end(turn.id);
    }
    const said = this.turns.filter((turn) => turn.text);
    for (const turn of said) this.send({ type: "conversation.item.create", item: item(turn) });
    if (said.at(-1)?.role === "user") this.#ask();
    this.changed();
  }

  #started(id) {
    this.hearing = true;
    this.#began = performance.now() - 1000; // a server says so when it is sure
    this.turns = this.turns.filter((turn) => turn.role !== "user" || turn.text || turn.kept);
    this.#turn(id, "user");
    this.interrupt();
  }

  #stopped() {
    this.hearing = false;
    const stopped = performance.now();
    this.#ended = { said: this.#voice.lastSince(this.#began) ?? stopped, stopped };
    this.changed();
  }

  #understood({ type, item_id, delta, transcript }) {
    const turn = this.#turn(item_id, "user");
    if (type.endsWith(".delta")) turn.text += delta;
    else if (type.endsWith(".completed")) turn.text = transcript.trim();
    else if (type.endsWith(".failed")) this.failed("The server could not write down what you said.");
    turn.done = !type.endsWith(".delta");
    if (turn.done && !turn.text) this.turns = this.turns.filter((each) => each !== turn);
    this.changed(turn);
  }

  #answered({ type, response, response_id, item_id, item: added, delta }) {
    switch (type) {
      case "response.created":
        this.response = { id: response.id, timing: this.#ended };
        this.#ended = null;
        this.changed();
        break;
      case "response.output_item.added":
        if (added.type === "message" && this.response?.id === response_id) {
          const turn = this.#turn(added.id, "assistant");
          turn.timing = this.response.timing;
          this.response.timing = null;
        }
        break;
      case "response.output_text.delta":
      case "response.output_audio_transcript.delta":
        this.#reply(item_id, (turn) => (turn.text += delta));
        break;
      case "response.output_audio.delta":
        this.#reply(item_id, (turn) => this.#sound(turn, delta));
        break;
      case "response.output_audio.done":
        this.#reply(item_id, (turn) => {
          turn.complete = true;
          this.speaker.end(item_id);
        });
        break;
      case "response.output_text.done":
        this.#reply(item_id, (turn) => (turn.done = true));
        break;
      case "response.done":
        this.#over(response);
        break;
    }
  }

  #reply(id, act) {
    const turn = this.turns.find((each) => each.id === id);
    if (!turn) return;
    if (turn.cut) turn.unheard = true;
    else act(turn);
    this.changed(turn);
  }

  #sound(turn, delta) {
    const pcm = Uint8Array.from(atob(delta), (char) => char.charCodeAt(0)).buffer;
    turn.sound += pcm.byteLength / 2;
    turn.points.push([turn.sound, turn.text.length]);
    if (turn.timing) turn.timing.sound ??= performance.now();
    this.speaker.play(turn.id, pcm);
  }

  #over({ id, output, status, status_details, metadata }) {
    for (const { id: made } of output) {
      const turn = this.turns.find((each) => each.id === made);
      if (!turn) continue;
      if (turn.cut && turn.unheard && !turn.truncated) this.#truncate(turn, 0);
      if (turn.timing && metadata?.[LATENCY]) turn.timing.parts = JSON.parse(metadata[LATENCY]);
      turn.note = status === "incomplete" && !turn.cut ? status_details?.reason : undefined;
      this.changed(turn);
    }
    if (status === "failed") this.failed(status_details?.error?.message ?? "The reply failed.");
    if (this.response?.id !== id) return;
    this.response = null;
    if (this.#waiting) this.#ask();
    this.changed();
  }

  /** Ask for an answer; only one is given at a time. */
  #ask() {
    this.#waiting = this.response !== null;
    if (!this.#waiting) this.send({ type: "response.create" });
  }

  #turn(id, role, text = "") {
    const found = this.turns.find((turn) => turn.id === id);
    if (found) return found;
    const about = { id, role, text, line: this.#line, points: [[0, 0]], sound: 0, heard: 0 };
    const turn = { ...about, done: false, complete: false, cut: false };
    this.turns = [...this.turns, turn].slice(-KEPT);
    this.changed(turn);
    return turn;
  }
}

/** A turn as an item for the server. */
function item({ id, role, text }) {
  const type = role === "user" ? "input_text" : "output_text";
  return { type: "message", role, ...(id.startsWith("typed_") && { id }), content: [{ type, text }] };
}
