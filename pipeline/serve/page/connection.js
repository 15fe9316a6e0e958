// The line to the server: found, kept, and made again by itself.

const FIRST_WAIT_S = 0.5;
const LONGEST_WAIT_S = 15;
const MOST_UNSENT = 1 << 20; // bytes; of a line that stands still, sound is let go
const TOKEN = "cascade.token";

/** Why there is no line; the text is the server's own where it answered. */
class Refusal extends Error {
  constructor(text = "There is no connection to the server.", status = 0, wait = 0) {
    super(text);
    Object.assign(this, { status, wait });
  }
}

/**
 * `told` learns the state: "opening", "open", "waiting" until it is tried again (`why`, `seconds`),
 * "token" where the server demands one (`wrong`: one was given).
 */
export class Connection {
  #told;
  #received;
  #socket = null;
  #failures = 0;
  #timer = 0;
  isOpen = false; // the server has greeted; before, nothing is sent

  constructor({ told, received }) {
    this.#told = told;
    this.#received = received;
    window.addEventListener("online", () => this.#timer && this.open());
  }

  /** Connect, unless that is under way, and stay connected. */
  open() {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#told("opening");
    this.#socket = {};
    this.#connect(this.#socket);
  }

  /** Give the server's token; it is kept until the tab is closed. */
  authorise(token) {
    sessionStorage.setItem(TOKEN, token);
    this.open();
  }

  /** Begin a new session. */
  renew() {
    const socket = this.#socket;
    this.#socket = null;
    this.isOpen = false;
    socket?.close?.(1000);
    this.open();
  }

  /** Send an event; whether the line takes it. */
  send(event) {
    const { readyState, bufferedAmount } = this.#socket ?? {};
    if (!this.isOpen || readyState !== WebSocket.OPEN || bufferedAmount > MOST_UNSENT) return false;
    this.#socket.send(JSON.stringify(event));
    return true;
  }

  async #ask(path, request = {}) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch(path, { ...request, headers, cache: "no-store" }).catch(() => {
      throw new Refusal();
    });
    if (answer.ok) return answer.json();
    const { error } = await answer.json().catch(() => ({}));
    throw new Refusal(error?.message, answer.status, Number(answer.headers.get("Retry-After")));
  }

  /** Connect with a key for one session: the token itself is in no frame's header. */
  async #connect(socket) {
    try {
      const { value } = await this.#ask("v1/realtime/client_secrets", { method: "POST" });
      if (this.#socket === socket) this.#follow(value);
    } catch (refusal) {
      this.#lost(socket, refusal);
    }
  }

  #follow(key) {
    const url = new URL("v1/realtime", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, ["realtime", `openai-insecure-api-key.${key}`]);
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      const event = JSON.parse(data);
      if (event.type === "session.created") {
        this.isOpen = true;
        this.#failures = 0;
        this.#told("open");
      }
      this.#received(event);
    };
    // Why a WebSocket is refused a browser does not tell; asked for plainly, its address does.
    const why = () => (this.isOpen ? Promise.reject(new Refusal()) : this.#ask("v1/realtime"));
    socket.onclose = () => {
      if (this.#socket === socket) why().catch((refusal) => this.#lost(socket, refusal));
    };
  }

  #lost(socket, { message, status, wait }) {
    if (this.#socket !== socket) return;
    this.#socket = null;
    this.isOpen = false;
    if (status === 401) {
      this.#told("token", { wrong: sessionStorage.getItem(TOKEN) !== null });
      return;
    }
    const backoff = Math.min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** this.#failures++);
    // Not all pages of a server that was restarted come back at the same moment.
    const seconds = wait || backoff * (0.75 + Math.random() / 2);
    this.#timer = setTimeout(() => this.open(), seconds * 1000);
    this.#told("waiting", { why: status === 426 ? new Refusal().message : message, seconds });
  }
}
