// Keeps a program registered with weft, by the RegistryService in Connect's JSON.
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";

const defaults = { namespace: "default", ttlMs: 15_000, lingerMs: 200, retryMinMs: 200, timeoutMs: 3_000, log() {} };

export async function keep(options) {
  for (const name of ["server", "service", "url"]) {
    if (!options?.[name]) throw new TypeError(`peer: ${name} must be set`);
  }
  const set = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const instance = `${set.service}-${hostname()}-${randomBytes(4).toString("hex")}`;
  const { end, forget } = set.signal ? { end: set.signal, forget() {} } : signals();
  const lease = new Lease({ ...defaults, instance, ...set });
  try {
    while (!end.aborted) {
      const wait = await lease.beat(end);
      await delay(wait, undefined, { signal: end }).catch(() => {}); // told to end
    }
    await lease.leave();
  } finally {
    forget();
  }
}

// signals is what ends a program that is not told by an AbortSignal. forget lets
// the next signal end it at once.
function signals() {
  const told = new AbortController();
  const abort = () => told.abort();
  const names = ["SIGTERM", "SIGINT"];
  for (const name of names) process.once(name, abort);
  return { end: told.signal, forget: () => names.forEach((name) => process.off(name, abort)) };
}

class Lease {
  #o;
  #epoch; // undefined while there is no lease
  #intervalMs;
  #failures = 0;

  constructor(options) {
    this.#o = options;
  }

  // beat registers or sends a heartbeat, whichever is due, and returns how long to
  // wait for the next.
  async beat(end) {
    try {
      await (this.#epoch ? this.#call("Heartbeat", this.#name(), end) : this.#register());
    } catch (error) {
      if (end.aborted) return 0;
      this.#failures++;
      let wait = this.#backoff();
      if (this.#epoch && ["not_found", "failed_precondition", "aborted"].includes(error.code)) {
        this.#epoch = undefined; // weft no longer knows the lease, or gave it to another
        wait = 0;
      }
      this.#o.log(`the lease of ${this.#o.service} was not renewed: ${told(error)}; next try in ${Math.round(wait)} ms`);
      return wait;
    }
    this.#failures = 0;
    return this.#intervalMs * (1 - Math.random() / 10); // many that began together do not stay together
  }

  async #register() {
    const { url, zone, weight, health, ttlMs } = this.#o;
    const answer = await this.#call("Register", { ...this.#name(), url, zone, weight, health, ttl: `${ttlMs / 1000}s` });
    if (!answer.epoch) throw new Error("weft answered Register without an epoch");
    const interval = 1000 * Number.parseFloat(answer.heartbeatInterval);
    this.#epoch = answer.epoch; // a text: it has 64 bits
    this.#intervalMs = interval > 0 && interval < ttlMs ? interval : ttlMs / 3;
    this.#o.log(`registered ${this.#o.service} at ${url} with epoch ${this.#epoch}`);
  }

  // leave ends the calls that come, and takes the registration back, if there is one.
  async leave() {
    if (!this.#epoch) return;
    try {
      await this.#call("Drain", this.#name());
      await delay(this.#o.lingerMs);
      await this.#call("Deregister", this.#name());
      this.#o.log(`deregistered ${this.#o.service}`);
    } catch (error) {
      this.#o.log(`the lease of ${this.#o.service} was not given back, and ends by itself: ${told(error)}`);
    }
  }

  // backoff is the wait after so many failures in a row, with full jitter over its
  // upper half.
  #backoff() {
    const { retryMinMs, ttlMs, retryMaxMs = ttlMs / 3 } = this.#o;
    const wait = Math.min(retryMinMs * 2 ** (this.#failures - 1), retryMaxMs);
    return (wait * (1 + Math.random())) / 2;
  }

  #name() {
    const { namespace, service, instance } = this.#o;
    return { namespace, service, instance, epoch: this.#epoch };
  }

  // call makes one unary Connect call in JSON. An error that weft answered with has
  // its code.
  async #call(method, request, end) {
    const timeout = AbortSignal.timeout(this.#o.timeoutMs);
    const response = await fetch(`${this.#o.server.replace(/\/$/, "")}/weft.v1.RegistryService/${method}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Connect-Protocol-Version": "1" },
      body: JSON.stringify(request),
      signal: end ? AbortSignal.any([timeout, end]) : timeout,
    });
    const text = await response.text();
    if (response.ok) return JSON.parse(text);
    let answer = {};
    try {
      answer = JSON.parse(text);
    } catch {} // not weft's
    const code = answer.code ?? "unknown";
    throw Object.assign(new Error(`${method}: ${code}: ${answer.message ?? response.statusText}`), { code });
  }
}

// told is an error with what caused it: fetch says why only there.
function told(error) {
  return error.cause?.message ? `${error.message}: ${error.cause.message}` : error.message;
}
