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
 * As in weft, a call that fails leaves no write and no event. Limits there are none.
 */
import { readFile } from "node:fs/promises";

const codes = ["ok", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
  "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented", "internal",
  "unavailable", "data_loss", "unauthenticated"];

/** What peer and web throw to answer with an error. */
export class Fault extends Error {
  constructor(code, message) {
    super(message);
    if (!codes.includes(code)) throw new TypeError(`${code} is no code`);
    this.code = code;
  }
}

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
      answer, stream, input: bytes(input), kept: Buffer.alloc(0), sent: false,
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
      throw trap;
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
    const part = (from, dst, cap, offset) => {
      const some = from.subarray(offset >>> 0, (offset >>> 0) + (cap >>> 0));
      view(dst, some.length).set(some);
      return some.length;
    };
    /** reach is a code of a host call that may fail; what it says is kept for result. */
    const reach = (name, work) => {
      const call = this.#call;
      if (!call) throw new Error(`${name} was called outside a handler`);
      call.kept = Buffer.alloc(0);
      try {
        if (this.faults[name]) throw this.faults[name];
        work(call);
        return 0;
      } catch (err) {
        if (!(err instanceof Fault)) throw err;
        call.kept = Buffer.from(err.message);
        return codes.indexOf(err.code);
      }
    };
    /** give is a length, or minus a code. */
    const give = (name, dst, cap, find) => {
      let found;
      const code = reach(name, (call) => {
        found = find(call);
        if (found === undefined) throw new Fault("not_found", "");
        found = bytes(found);
      });
      if (code) return BigInt(-code);
      if (found.length <= cap >>> 0) part(found, dst, cap, 0);
      else this.#call.kept = found;
      return BigInt(found.length);
    };
    const add = (to, name, value) => {
      const key = name.toLowerCase();
      to[key] = key in to ? `${to[key]}, ${value}` : value;
    };

    return {
      input: (dst, cap, offset) => part(this.#call.input, dst, cap, offset),
      result: (dst, cap, offset) => part(this.#call.kept, dst, cap, offset),
      output: (ptr, len) => {
        this.#call.answer.body = Buffer.concat([this.#call.answer.body, view(ptr, len)]);
      },
      header_get: (k, kn, dst, cap) => give("header_get", dst, cap, ({ headers }) => {
        const name = text(k, kn).toLowerCase();
        return name === ":names" ? [...headers.keys()].filter((n) => n[0] !== ":").join(", ") : headers.get(name);
      }),
      header_set: (k, kn, v, n) => {
        if (this.#call.sent) throw new Fault("failed_precondition", "the headers have been sent");
        add(this.#call.answer.headers, text(k, kn), text(v, n));
      },
      trailer_set: (k, kn, v, n) => add(this.#call.answer.trailers, text(k, kn), text(v, n)),
      error_detail: (k, kn, v, n) => {
        this.#call.answer.details.push({ type: text(k, kn), value: copy(v, n) });
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
      state_get: (k, kn, dst, cap) => give("state_get", dst, cap, ({ state }) => state.get(text(k, kn))),
      state_set: (k, kn, v, n) => reach("state_set", ({ state }) => state.set(text(k, kn), copy(v, n))),
      state_delete: (k, kn) => reach("state_delete", ({ state }) => state.delete(text(k, kn))),
      publish: (k, kn, v, n) => reach("publish", ({ events }) => events.push({ type: text(k, kn), data: parse(copy(v, n)) })),
      call: (k, kn, v, n, dst, cap) => give("call", dst, cap, () => {
        if (!this.peer) throw new Fault("not_found", "there is no such peer");
        return this.peer(text(k, kn), copy(v, n)) ?? "";
      }),
      http: (v, n, dst, cap) => give("http", dst, cap, () => {
        if (!this.web) throw new Fault("permission_denied", "it was not granted");
        const request = JSON.parse(text(v, n));
        const { status = 200, headers = {}, body } = this.web({ ...request, body: Buffer.from(request.body ?? "", "base64") });
        return { status, headers, body: bytes(body).toString("base64") };
      }),
      config_get: (k, kn, dst, cap) => give("config_get", dst, cap, () => this.config.get(text(k, kn))),
      secret_get: (k, kn, dst, cap) => give("secret_get", dst, cap, () => {
        const name = text(k, kn);
        if (!this.secrets.has(name)) throw new Fault("permission_denied", `${name} was not granted`);
        return this.secrets.get(name);
      }),
      deadline: () => BigInt(this.remaining),
      log: (level, ptr, len) => {
        this.logs.push({ level: ["debug", "info", "warn", "error"][level] ?? "info", message: text(ptr, len) });
      },
    };
  }
}
