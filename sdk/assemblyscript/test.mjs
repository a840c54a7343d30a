/**
 * A host in memory, so that handlers run in a plain `node --test`:
 *
 *     import assert from "node:assert";
 *     import test from "node:test";
 *     import { Host } from "@weftrun/sdk/test";
 *
 *     test("it greets", async () => {
 *       const host = await Host.load("greet.wasm");
 *       assert.deepEqual(host.call("greet", { name: "Ada" }).json(), { name: "hello Ada" });
 *     });
 *
 * As in weft, a call that fails leaves no write and no event, and names, values and
 * details that are too long, or not what they must be, are refused. Of other limits and
 * of grants there are none.
 */
import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";

const codes = ["ok", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
  "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented", "internal",
  "unavailable", "data_loss", "unauthenticated"];

/** What peer and web throw to answer with an error. */
export class Fault extends Error {
  /** Of a peer it may have details, each { type, value }. */
  constructor(code, message, details = []) {
    super(message);
    this.details = details;
    if (!codes.includes(code)) throw new TypeError(`${code} is no code`);
    this.code = code;
  }
}

/** Ends a call, whatever its handler would return. */
class Stop extends Fault {}

// Bounds of docs/ABI.md, in bytes but for detailsMax.
const nameMax = 1 << 10, headerMax = 8 << 10, valueMax = 1 << 20, detailsMax = 16, detailsBytesMax = 16 << 10;

/** A text and bytes as they are, anything else as JSON. */
function bytes(v) {
  if (typeof v === "string" || v instanceof Uint8Array) return Buffer.from(v);
  return Buffer.from(v === undefined ? "" : JSON.stringify(v));
}

/** What JSON stands for; other data as they are. */
function parse(data) {
  try {
    return JSON.parse(data.toString());
  } catch {
    return data;
  }
}

/** What a call gave. Of an error the body is its message. */
class Answer {
  code = "ok";
  body = Buffer.alloc(0);
  headers = {}; // several values are joined by ", "
  trailers = {};
  details = []; // { type, value }
  messages = []; // that were sent

  text() {
    return this.body.toString();
  }

  json() {
    return JSON.parse(this.text());
  }
}

/** Fill its fields, call, and look at them. */
export class Host {
  state = new Map(); // what handlers wrote are Buffers
  config = new Map();
  secrets = new Map();
  /** (procedure, request: Buffer) => the answer; without it every peer is not found. */
  peer = null;
  /** ({ method, url, headers, body: Buffer }) => { status, headers, body }; without it nothing was granted. */
  web = null;
  /** What an import gives instead, as in { state_get: new Fault("unavailable", "try later") }. */
  faults = {};
  remaining = 30_000; // milliseconds
  events = []; // { type, data }, of all calls that succeeded
  logs = []; // { level, message }

  #module;
  #instance = null;
  #call = null;

  /** @param {string | URL} file a module */
  static async load(file) {
    return new Host(await WebAssembly.compile(await readFile(file)));
  }

  constructor(module) {
    this.#module = module;
  }

  /**
   * Calls a handler. The input is a text, bytes, or what becomes JSON; with messages
   * the call is a stream. A trap is thrown, and the next call has a new instance.
   */
  call(handler, input, { headers = {}, messages } = {}) {
    const stream = messages !== undefined;
    const answer = new Answer();
    const call = {
      answer, stream, input: bytes(input), kept: Buffer.alloc(0), sent: false, refusal: [],
      headers: new Map(Object.entries(headers).map(([k, v]) => [k.toLowerCase(), [v].flat().join(", ")])),
      pending: stream ? messages.map(bytes) : [bytes(input)],
      state: new Map(this.state), events: [],
    };
    try {
      if (!this.#instance) this.#start();
      const run = this.#instance.exports[handler];
      if (typeof run !== "function") throw new TypeError(`the module has no handler ${handler}`);
      this.#call = call;
      answer.code = codes[run(call.input.length)] ?? "unknown";
    } catch (trap) {
      this.#instance = null;
      if (!(trap instanceof Stop)) throw trap;
      answer.code = trap.code;
      answer.body = Buffer.from(trap.message);
    } finally {
      this.#call = null;
    }
    if (answer.code !== "ok") return answer;
    answer.details = [];
    if (answer.body.length && (stream || answer.messages.length)) {
      return Object.assign(answer, { code: "internal", body: Buffer.from("the handler wrote an output beside its messages") });
    }
    if (!stream && answer.messages.length) answer.body = answer.messages[0];
    this.state = call.state;
    this.events.push(...call.events);
    return answer;
  }

  #start() {
    this.#instance = new WebAssembly.Instance(this.#module, { "weft/v1": this.#imports() });
    this.#instance.exports._initialize?.();
  }

  #imports() {
    const view = (ptr, len) => Buffer.from(this.#instance.exports.memory.buffer, len ? ptr >>> 0 : 0, len >>> 0);
    const copy = (ptr, len) => Buffer.from(view(ptr, len));
    const text = (ptr, len) => view(ptr, len).toString();
    /** name is a text that has a limit. */
    const name = (ptr, len, max = nameMax) => {
      if (len >>> 0 > max) throw new Stop("resource_exhausted", `the handler passed a name or value of ${len >>> 0} bytes, the limit is ${max}`);
      if (!isUtf8(view(ptr, len))) throw new Stop("internal", "the handler passed a name or value that is not UTF-8");
      return text(ptr, len);
    };
    /** small refuses a value or an event that is too large. */
    const small = (n) => {
      if (n >>> 0 > valueMax) throw new Fault("resource_exhausted", `it has ${n >>> 0} bytes, the limit is ${valueMax}`);
    };
    const part = (from, dst, cap, offset) => {
      const some = from.subarray(offset >>> 0, (offset >>> 0) + (cap >>> 0));
      view(dst, some.length).set(some);
      return some.length;
    };
    /** reach is a code of a host call that may fail; what it says is kept for result. */
    const reach = (what, work) => {
      const call = this.#call;
      if (!call) throw new Error(`${what} was called outside a handler`);
      call.kept = Buffer.alloc(0);
      try {
        if (this.faults[what]) throw this.faults[what];
        work(call);
        return 0;
      } catch (err) {
        if (!(err instanceof Fault) || err instanceof Stop) throw err;
        call.kept = Buffer.from(err.message);
        return codes.indexOf(err.code);
      }
    };
    /** give is a length, or minus a code. */
    const give = (what, dst, cap, find) => {
      let found;
      const code = reach(what, (call) => {
        found = find(call);
        if (found === undefined) throw new Fault("not_found", "");
        found = bytes(found);
      });
      if (code) return BigInt(-code);
      if (found.length <= cap >>> 0) part(found, dst, cap, 0);
      else this.#call.kept = found;
      return BigInt(found.length);
    };
    const add = (to, k, value) => {
      const key = k.toLowerCase();
      to[key] = key in to ? `${to[key]}, ${value}` : value;
    };

    return {
      input: (dst, cap, offset) => part(this.#call.input, dst, cap, offset),
      result: (dst, cap, offset) => part(this.#call.kept, dst, cap, offset),
      output: (ptr, len) => {
        this.#call.answer.body = Buffer.concat([this.#call.answer.body, view(ptr, len)]);
      },
      header_get: (k, kn, dst, cap) => give("header_get", dst, cap, ({ headers }) => {
        const key = name(k, kn).toLowerCase();
        return key === ":names" ? [...headers.keys()].filter((n) => n[0] !== ":").join(", ") : headers.get(key);
      }),
      header_set: (k, kn, v, n) => {
        if (this.#call.sent) throw new Stop("failed_precondition", "the headers have been sent");
        add(this.#call.answer.headers, name(k, kn), name(v, n, headerMax));
      },
      trailer_set: (k, kn, v, n) => add(this.#call.answer.trailers, name(k, kn), name(v, n, headerMax)),
      error_detail: (k, kn, v, n) => {
        const { details } = this.#call.answer, type = name(k, kn);
        if (!type) throw new Stop("internal", "the handler passed a detail of an error without its type");
        const all = details.reduce((sum, d) => sum + Buffer.byteLength(d.type) + d.value.length, kn + n);
        if (details.length === detailsMax || all > detailsBytesMax) throw new Stop("resource_exhausted", "the handler gave too many details of its error");
        details.push({ type, value: copy(v, n) });
      },
      recv: (dst, cap) => give("recv", dst, cap, ({ pending }) => {
        if (!pending.length) throw new Fault("out_of_range", "no more messages");
        return pending.shift();
      }),
      send: (ptr, len) => reach("send", (call) => {
        if (!call.stream && call.answer.messages.length) throw new Fault("failed_precondition", "the call is no stream");
        call.sent = true;
        call.answer.messages.push(copy(ptr, len));
      }),
      send_headers: () => {
        this.#call.sent = true;
      },
      state_get: (k, kn, dst, cap) => give("state_get", dst, cap, ({ state }) => state.get(name(k, kn))),
      state_set: (k, kn, v, n) => reach("state_set", ({ state }) => {
        const key = name(k, kn);
        small(n);
        state.set(key, copy(v, n));
      }),
      state_delete: (k, kn) => reach("state_delete", ({ state }) => state.delete(name(k, kn))),
      publish: (k, kn, v, n) => reach("publish", ({ events }) => {
        const type = name(k, kn);
        if (!type) throw new Fault("invalid_argument", "an event must have a type");
        if (type.startsWith("weft.")) throw new Fault("invalid_argument", `event type ${type} is one of weft itself`);
        small(n);
        events.push({ type, data: parse(copy(v, n)) });
      }),
      call: (k, kn, v, n, dst, cap) => give("call", dst, cap, () => {
        const procedure = name(k, kn);
        if (!this.peer) throw new Fault("not_found", "there is no such peer");
        try {
          this.#call.refusal = [];
          return this.peer(procedure, copy(v, n)) ?? "";
        } catch (err) {
          this.#call.refusal = err.details ?? [];
          throw err;
        }
      }),
      call_detail: (n, dst, cap) => give("call_detail", dst, cap, ({ refusal }) => {
        const d = refusal[n];
        return d && Buffer.concat([Buffer.from(`${d.type}\0`), d.value]);
      }),
      http: (v, n, dst, cap) => give("http", dst, cap, () => {
        if (!this.web) throw new Fault("permission_denied", "it was not granted");
        const request = JSON.parse(text(v, n));
        const { status = 200, headers = {}, body } = this.web({ ...request, body: Buffer.from(request.body ?? "", "base64") });
        return { status, headers, body: bytes(body).toString("base64") };
      }),
      config_get: (k, kn, dst, cap) => give("config_get", dst, cap, () => this.config.get(name(k, kn))),
      secret_get: (k, kn, dst, cap) => give("secret_get", dst, cap, () => {
        const secret = name(k, kn);
        if (!this.secrets.has(secret)) throw new Fault("permission_denied", `${secret} was not granted`);
        return this.secrets.get(secret);
      }),
      deadline: () => BigInt(this.remaining),
      log: (level, ptr, len) => {
        this.logs.push({ level: ["debug", "info", "warn", "error"][level] ?? "info", message: text(ptr, len) });
      },
    };
  }
}
