// The page: what is pressed, and what is seen of it.

import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { Camera, ofScreen } from "./pictures.js";
import { Microphone, Speaker } from "./sound.js";
import { Transcript, h } from "./view.js";

const SETTINGS = "cascade.settings";
const refusals = (device) => ({
  NotAllowedError: `The browser keeps the ${device} from this page. Allow it beside the address.`,
  NotFoundError: `There is no ${device}. Plug one in.`,
  NotReadableError: `Another program holds the ${device}. End that.`,
});
const UNHEARD = {
  ...refusals("microphone"),
  insecure: "Browsers let a page hear only over https, or on its own machine. Open it so.",
};
const UNSEEN = refusals("camera");

const find = (selector) => document.querySelector(selector);
const [stateLine, talk, problem, empty] = ["#state", "#talk", "#problem", "#empty"].map(find);
const [meter, log, tokenForm, form] = ["#level i", "#said", "#token", "#settings form"].map(find);

const transcript = new Transcript(find("#transcript"));
const microphone = new Microphone();
const speaker = new Speaker((about) => conversation.played(about));
const connection = new Connection({
  told: lineIs,
  received: (event) => conversation.receive(event),
});
const conversation = new Conversation({
  send: (event) => connection.send(event),
  speaker,
  changed,
  failed: complain,
  session,
});
let line = "closed";
let held = false;
let drawing = 0;

// Settings

const kept = JSON.parse(localStorage.getItem(SETTINGS) ?? "{}");
for (const [name, value] of Object.entries(kept)) form.elements[name].value = value;
follow();

function follow() {
  find("#speed").previousElementSibling.firstElementChild.value = `${form.speed.value}×`;
  conversation.manual = form.turns.value === "hold";
  const [button, invitation] = conversation.manual
    ? ["Hold to talk", "Hold the button or the space bar, and talk."]
    : ["Talk", "Press the button and talk. Speak over a reply, and it stops."];
  talk.lastElementChild.textContent = button;
  empty.textContent = invitation;
}

/** The settings as the session has them; what is empty is the server's choice. */
function session() {
  const { turns, voice, speed, instructions } = Object.fromEntries(new FormData(form));
  const [type, eagerness] = turns.split(" ");
  const detection = type === "hold" ? null : { type, ...(eagerness && { eagerness }) };
  const output = { speed: Number(speed), ...(voice.trim() && { voice: voice.trim() }) };
  const input = { transcription: { model: "whisper-1" }, turn_detection: detection };
  const told = instructions.trim() && { instructions: instructions.trim() };
  return { type: "realtime", audio: { input, output }, ...told };
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", follow);
form.addEventListener("change", ({ target }) => {
  const values = Object.fromEntries(new FormData(form));
  localStorage.setItem(SETTINGS, JSON.stringify(values));
  if (target.name === "turns") hush();
  if (!connection.isOpen) return;
  // A session that has spoken keeps its voice, and what was said in it does not become unsaid.
  if (target.name === "voice" || !target.value.trim()) connection.renew();
  else connection.send({ type: "session.update", session: session() });
});

// What is pressed

async function hear() {
  if (microphone.isOpen) return true;
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "insecure");
    await microphone.open(heard, lost);
    return true;
  } catch (error) {
    const why = UNHEARD[error.name] ?? error.message;
    complain(`${why} Then press the button again; you can write meanwhile.`);
    return false;
  } finally {
    changed();
  }
}

function heard(piece) {
  meter.style.transform = `scaleX(${Math.max(0, 1 + Math.log10(piece.level + 1e-6) / 2.5)})`;
  conversation.hear(piece);
}

function lost() {
  complain("The microphone is gone. Plug it in, and press the button again.");
  hush();
}

function hush() {
  conversation.finish();
  microphone.close();
  meter.style.transform = "scaleX(0)";
  changed();
}

async function begin() {
  problem.hidden = true;
  speaker.open();
  connection.open();
  return hear();
}

async function press() {
  held = true;
  if ((await begin()) && held) conversation.begin();
}

function release() {
  if (!held) return;
  held = false;
  conversation.finish();
}

talk.addEventListener("click", ({ detail }) => {
  // A screen reader cannot hold a button: what it clicks, it has not held (`detail` is 0).
  if (conversation.manual) detail || (held ? release() : press());
  else if (microphone.isOpen) hush();
  else begin();
});
talk.addEventListener("pointerdown", (event) => {
  if (!conversation.manual || event.button) return;
  talk.setPointerCapture(event.pointerId);
  press();
});
for (const name of ["pointerup", "pointercancel"]) talk.addEventListener(name, release);
talk.addEventListener("contextmenu", (event) => event.preventDefault());

const holds = ({ key, target }) =>
  conversation.manual && key === " " && !target.closest("form, summary, dialog, .icon");
document.addEventListener("keydown", (event) => {
  if (!holds(event)) return;
  event.preventDefault();
  if (!event.repeat && !held) press();
});
document.addEventListener("keyup", (event) => holds(event) && release());
window.addEventListener("blur", release);

find("#writing").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = find("#words").value.trim();
  if (!words) return;
  find("#words").value = "";
  problem.hidden = true;
  speaker.open();
  conversation.say(words);
  connection.open();
});
const camera = new Camera(find("#viewfinder"));
// Browsers let a page see only over https, and phones have no picture of their screen to give.
find("#camera").hidden = !navigator.mediaDevices?.getUserMedia;
find("#screen").hidden = !navigator.mediaDevices?.getDisplayMedia;

async function show(name, take, unseen) {
  try {
    const image = await take();
    if (!image) return;
    problem.hidden = true;
    conversation.show(image, `A picture of the ${name}`);
    connection.open();
  } catch (error) {
    const why = unseen[error.name] ?? error.message;
    if (why) complain(why);
  }
}

find("#camera").addEventListener("click", () => show("camera", () => camera.take(), UNSEEN));
// Who chooses no screen wants none.
find("#screen").addEventListener("click", () => show("screen", ofScreen, { NotAllowedError: "" }));

tokenForm.addEventListener("submit", (event) => {
  event.preventDefault();
  connection.authorise(find("#key").value);
  find("#key").value = "";
});
problem.lastElementChild.addEventListener("click", () => connection.open());

// What is seen

/** Tell what is wrong; what is wrong with the line is over once there is one. */
function complain(text, { ofLine = false, again = false } = {}) {
  problem.firstElementChild.textContent = text;
  problem.lastElementChild.hidden = !again;
  problem.hidden = false;
  problem.dataset.line = ofLine;
}

function lineIs(state, about = {}) {
  line = state;
  tokenForm.hidden = state !== "token";
  if (state === "open" && problem.dataset.line === "true") problem.hidden = true;
  if (state === "token") {
    const knows = about.wrong ? "does not know this token" : "asks for its token";
    complain(`The server ${knows}.`, { ofLine: true });
    find("#key").focus();
  }
  if (state === "waiting") {
    const text = `${about.why} Trying again in ${Math.ceil(about.seconds)} s.`;
    complain(text, { ofLine: true, again: true });
  }
  changed();
}

function stateNow() {
  if (line === "opening") return ["opening", "Connecting"];
  if (line !== "open") return ["closed", "Not connected"];
  if (conversation.hearing) return ["hearing", "Hearing you"];
  if (conversation.speaking) return ["speaking", "Speaking"];
  if (conversation.response || conversation.ended) return ["thinking", "Thinking"];
  if (microphone.isOpen && !conversation.manual) return ["listening", "Listening"];
  return ["ready", "Ready"];
}

/** Draw, once a frame. What was understood is told a screen reader once, when it is final. */
function changed(turn) {
  if (turn?.done && turn.role === "user" && !turn.told) {
    turn.told = true;
    log.replaceChildren(h("p", { text: `You: ${turn.alt ?? turn.text}` }));
  }
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    const [state, text] = stateNow();
    if (stateLine.textContent !== text) stateLine.textContent = text;
    document.body.dataset.state = state;
    const isOn = conversation.manual ? conversation.hearing : microphone.isOpen;
    talk.setAttribute("aria-pressed", isOn);
    empty.hidden = conversation.turns.length > 0;
    transcript.show(conversation.turns);
  });
}
