// The conversation as the page knows it: who said what, how far it was heard, how long it took.
// It speaks the Realtime protocol, and draws nothing.

import { RATE, Voice } from "./sound.js";

const LEAST_MS = 100; // of sound in a turn that is ended by hand, as the protocol demands
const KEPT = 200; // turns
const TRANSCRIPTION = "conversation.item.input_audio_transcription";
const LATENCY = "cascade.latency_ms"; // in a response's metadata: JSON of parts and total in ms
const WORDS = new Intl.Segmenter(undefined, { granularity: "word" });

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
  const cut = WORDS.segment(text);
  let found = cut.containing(reached(turn, Math.max(0, turn.heard)) - 1);
  if (!found) return ["", "", text];
  if (!found.isWordLike) found = cut.containing(found.index - 1) ?? found;
  const end = found.index + found.segment.length;
  return [text.slice(0, found.index), found.segment, text.slice(end)];
}

/** `send` is given events, `changed` the turn that changed, `failed` what to tell in words. */
export class Conversation {
  turns = [];
  response = null; // the one that is under way: {id, timing}
  ended = null; // {said, stopped}: of the user's turn that is to be answered (ms)
  hearing = false;
  manual = false; // the user's turns begin and end by hand
  #line = 0; // which connection this is
  #voice = new Voice();
  #began = 0;
  #waiting = false; // to be answered, once the response under way is over
  #sent = 0; // ms of sound since the turn was begun by hand

  constructor({ send, speaker, changed, failed, session }) {
    Object.assign(this, { send, speaker, changed, failed, session });
  }

  /** Whether a reply has sound that is not over. */
  get speaking() {
    return this.turns.some(({ sound, done, cut }) => sound && !done && !cut);
  }

  /** The microphone's next piece. */
  hear({ pcm, level }) {
    this.#voice.hear(level, performance.now());
    if (this.manual && !this.hearing) return;
    const audio = btoa(String.fromCharCode(...new Uint8Array(pcm)));
    if (this.send({ type: "input_audio_buffer.append", audio })) this.#sent += pcm.byteLength / 48;
  }

  /** Say something in writing. */
  async say(text) {
    const line = this.#line;
    const said = performance.now();
    const turn = this.#turn(`typed_${Date.now()}`, "user", text);
    turn.done = true;
    // The model is to know what was heard of its reply before it answers.
    await this.interrupt(true);
    if (this.#line !== line) return;
    this.ended = { said, stopped: said };
    this.#create(turn);
    this.#ask();
  }

  /** Show a picture, which belongs to what is said next; `alt` says what it is of. */
  show(image, alt) {
    const turn = this.#turn(`shown_${Date.now()}`, "user");
    Object.assign(turn, { image, alt, done: true });
    this.#create(turn);
    this.changed(turn);
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
    this.hearing = false;
    if (this.#sent < LEAST_MS) {
      this.send({ type: "input_audio_buffer.clear" });
    } else {
      this.#stopped();
      this.send({ type: "input_audio_buffer.commit" });
      this.#ask();
    }
    this.changed();
  }

  /** Be silent at once, and let the server forget what was not heard. */
  async interrupt(cancel = false) {
    if (cancel && this.response) this.send({ type: "response.cancel" });
    this.#waiting = false;
    const open = this.turns.filter(({ role, done, cut }) => role === "assistant" && !done && !cut);
    for (const turn of open) turn.cut = true;
    const stopped = new Map(await this.speaker.stop());
    for (const turn of open) {
      if (stopped.has(turn.id)) this.#truncate(turn, stopped.get(turn.id));
      else if (turn.sound) [turn.cut, turn.done] = [false, true]; // it had just ended
      else turn.text = "";
    }
    this.changed();
  }

  /** Of a reply nothing is kept after that sample, here and at the server. */
  #truncate(turn, played) {
    const place = reached(turn, played);
    const word = WORDS.segment(turn.text).containing(place);
    turn.text = turn.text.slice(0, word ? word.index : place).trim();
    turn.truncated = true;
    const item_id = turn.id;
    if (turn.line === this.#line) {
      const audio_end_ms = Math.floor((played * 1000) / RATE);
      const where = { item_id, content_index: 0, audio_end_ms };
      this.send({ type: "conversation.item.truncate", ...where });
    } else {
      // This connection has it as text, which cannot be cut.
      this.send({ type: "conversation.item.delete", item_id });
      if (turn.text) this.#create(turn);
    }
  }

  /** Tell the server of a turn, as a message of text, or of an image. */
  #create({ id, role, text, image }) {
    const type = role === "user" ? "input_text" : "output_text";
    const part = image ? { type: "input_image", image_url: image } : { type, text };
    const item = { id, type: "message", role, content: [part] };
    this.send({ type: "conversation.item.create", item });
  }

  /** How far an item is played. */
  played({ id, played, ended, audibleAt }) {
    const turn = this.#find(id);
    if (!turn || turn.cut) return;
    turn.done = ended;
    turn.heard = played - this.speaker.ahead;
    if (turn.timing && audibleAt !== null) turn.timing.heard ??= audibleAt;
    this.changed(turn);
  }

  /** The server's next event; there are more kinds of them than are of use here. */
  receive(event) {
    this.#events[event.type]?.(event);
  }

  #events = {
    "session.created": () => this.#greet(),
    "input_audio_buffer.speech_started": ({ item_id }) => this.#started(item_id),
    "input_audio_buffer.speech_stopped": () => this.#stopped(),
    "input_audio_buffer.committed": ({ item_id }) => (this.#turn(item_id, "user").kept = true),
    [`${TRANSCRIPTION}.delta`]: ({ item_id, delta }) => this.#understood(item_id, delta),
    [`${TRANSCRIPTION}.completed`]: ({ item_id, transcript }) => this.#final(item_id, transcript),
    [`${TRANSCRIPTION}.failed`]: ({ item_id }) => {
      this.failed("The server could not write down what you said.");
      this.#final(item_id, "");
    },
    "response.created": ({ response }) => this.#begun(response),
    "response.output_item.added": ({ item, response_id }) => this.#added(item, response_id),
    "response.output_audio_transcript.delta": ({ item_id, delta }) =>
      this.#reply(item_id, (turn) => (turn.text += delta)),
    "response.output_audio.delta": ({ item_id, delta }) =>
      this.#reply(item_id, (turn) => this.#sound(turn, delta)),
    "response.output_audio.done": ({ item_id }) => this.#reply(item_id, (turn) => this.#end(turn)),
    "response.done": ({ response }) => this.#over(response),
    error: ({ error }) => this.#refused(error),
  };

  /** What was asked for came too late, or too early, or is an error. */
  #refused({ code, message }) {
    if (code === "conversation_already_has_active_response") this.#waiting = true;
    else if (code !== "response_cancel_not_active") this.failed(message);
  }

  /** A new connection knows nothing of what was said on the one before. */
  #greet() {
    this.#line++;
    this.response = this.ended = null;
    this.hearing &&= this.manual;
    this.send({ type: "session.update", session: this.session() });
    this.turns = this.turns.filter((turn) => turn.text || turn.image);
    for (const turn of this.turns) {
      this.#create(turn);
      // Of what the old one broke off, what has arrived is all.
      if (turn.sound && !turn.done) this.#end(turn);
      else turn.done = true;
    }
    const last = this.turns.at(-1);
    if (last?.role === "user" && last.text) this.#ask();
    this.changed();
  }

  #started(id) {
    this.hearing = true;
    this.#began = performance.now() - 1000; // a server says so when it is sure
    this.turns = this.turns.filter((turn) => turn.role !== "user" || turn.text || turn.image || turn.kept);
    this.#turn(id, "user");
    this.interrupt();
  }

  #stopped() {
    this.hearing = false;
    const stopped = performance.now();
    this.ended = { said: this.#voice.lastSince(this.#began) ?? stopped, stopped };
    this.changed();
  }

  #understood(id, delta) {
    const turn = this.#turn(id, "user");
    turn.text += delta;
    this.changed(turn);
  }

  #final(id, text) {
    const turn = this.#turn(id, "user");
    Object.assign(turn, { text: text.trim(), done: true });
    if (!turn.text) {
      this.turns = this.turns.filter((each) => each !== turn);
      this.ended = null;
    }
    this.changed(turn);
  }

  #begun({ id }) {
    this.response = { id, timing: this.ended };
    this.ended = null;
    this.changed();
  }

  #added({ id, type }, response) {
    if (type !== "message" || this.response?.id !== response) return;
    this.#turn(id, "assistant").timing = this.response.timing;
    this.response.timing = null;
  }

  #reply(id, act) {
    const turn = this.#find(id);
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

  /** All sound of a reply is there. */
  #end(turn) {
    turn.complete = true;
    this.speaker.end(turn.id);
  }

  #over({ id, output, status, status_details, metadata }) {
    for (const { id: made } of output) {
      const turn = this.#find(made);
      if (!turn) continue;
      if (turn.cut && turn.unheard && !turn.truncated) this.#truncate(turn, 0);
      if (turn.timing && metadata?.[LATENCY]) turn.timing.parts = JSON.parse(metadata[LATENCY]);
      if (status === "incomplete") turn.note = ` (${status_details.reason.replaceAll("_", " ")})`;
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

  #find(id) {
    return this.turns.find((turn) => turn.id === id);
  }

  #turn(id, role, text = "") {
    const found = this.#find(id);
    if (found) return found;
    const about = { id, role, text, line: this.#line, points: [[0, 0]], sound: 0, heard: 0 };
    const turn = { ...about, done: false, complete: false, cut: false };
    this.turns = [...this.turns, turn].slice(-KEPT);
    this.changed(turn);
    return turn;
  }
}
