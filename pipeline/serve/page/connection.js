// The line to the server: found, kept, and made again by itself.

const FIRST_WAIT_S = 0.5;
const LONGEST_WAIT_S = 15;
const MOST_UNSENT = 1 << 20; // bytes; of a line that stands still, sound is let go
const TOKEN = "cascade.token";

/** Why the line is not there; `status` is the server's, 0 where it did not answer. */
class Refusal extends Error {
  constructor(status, wait = null) {
    super(`refused: ${status}`);
    Object.assign(this, { status, wait });
  }
}

/**
 * `told` learns the state: "opening", "open", "waiting" (`seconds` until it is tried again, `full`
 * where the server says so), "token" (the server demands one; `wrong` where one was given), "closed".
 */
export class Connection {
  #told;
  #received;
  #socket = null;
  #failures = 0;
  #timer = 0;

  constructor({ told, received }) {
    this.#told = told;
    this.#received = received;
    window.addEventListener("online", () => this.#timer && this.open());
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Connect, unless that is under way, and stay connected. */
  async open() {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#told("opening");
    const socket = (this.#socket = {});
    try {
      const key = await this.#key();
      if (this.#socket === socket) this.#connect(key);
    } catch (refusal) {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#refused(refusal);
    }
  }

  /** Give the server's token; it is kept until the tab is closed. */
  authorise(token) {
    sessionStorage.setItem(TOKEN, token);
    this.open();
  }

  /** Leave, and come back where `again` says so. */
  close(again = false) {
    const socket = this.#socket;
    clearTimeout(this.#timer);
    this.#socket = null;
    this.#timer = this.#failures = 0;
    socket?.close?.(1000);
    if (again) this.open();
    else this.#told("closed");
  }

  /** Send an event; whether the line takes it. */
  send(event) {
    if (!this.isOpen || this.#socket.bufferedAmount > MOST_UNSENT) return false;
    this.#socket.send(JSON.stringify(event));
    return true;
  }

  /** A key for one session. To ask for it tells why there is none, which a WebSocket never does. */
  async #key() {
    const token = sessionStorage.getItem(TOKEN);
    const headers = { "Content-Type": "application/json" };
    if (token) headers.Authorization = `Bearer ${token}`;
    const body = JSON.stringify({ session: { type: "realtime" } });
    const request = { method: "POST", headers, body, cache: "no-store" };
    const answer = await fetch("v1/realtime/client_secrets", request).catch(() => {
      throw new Refusal(0);
    });
    if (!answer.ok) throw new Refusal(answer.status, Number(answer.headers.get("Retry-After")));
    return (await answer.json()).value;
  }

  #connect(key) {
    const url = new URL("v1/realtime", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, ["realtime", `openai-insecure-api-key.${key}`]);
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      const event = JSON.parse(data);
      if (event.type === "session.created") {
        this.#failures = 0;
        this.#told("open");
      }
      this.#received(event);
    };
    socket.onclose = ({ code }) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#refused(new Refusal(0, null), code);
    };
  }

  #refused({ status, wait }, code = 0) {
    if (status === 401 || status === 403) {
      this.#told("token", { wrong: sessionStorage.getItem(TOKEN) !== null });
      return;
    }
    const backoff = Math.min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** this.#failures++);
    // Not all pages of a server that was restarted come back at the same moment.
    const seconds = wait || backoff * (0.75 + Math.random() / 2);
    this.#timer = setTimeout(() => this.open(), seconds * 1000);
    this.#told("waiting", { seconds, full: status === 429 || status === 503 || code === 1013 });
  }
}
