import * as abi from "./abi";
import { Bytes, decode, encode, utf8 } from "./bytes";
import { Code, Failure, fail, failed, recover } from "./failure";
import { Request, Response } from "./http";
import { Value, parse } from "./json";

export enum Level {
  Debug,
  Info,
  Warn,
  Error,
}

/** A protobuf message that belongs to an error, by its full name. */
export class Detail {
  constructor(public type: string, public value: Bytes) {}
}

/** Answers of this size and less take one call of the host. */
const roomSize: u32 = 1024;
const room = memory.data(1024);

/**
 * Context is one call of a handler, and everything it may reach.
 *
 * The first thing that goes wrong is kept, and is what the caller gets whatever
 * the handler returns: the host refuses a key, a peer is away, the handler calls
 * fail. From then on what reads gives nothing and what writes does nothing, so
 * that no step needs a check of its own. failed asks for it, and recover takes it
 * away.
 */
// @ts-ignore: the decorator is AssemblyScript's
@unmanaged // so that the collector need not know who holds it
export class Context {
  /** What the caller sent. The bytes are reused by the next call: copy what outlives this one. */
  get input(): Bytes {
    return input;
  }

  /** An instance has one call at a time, so a Context has no fields and any address is one. */
  // @ts-ignore: the decorator is AssemblyScript's
  @inline
  static of(n: u32): Context {
    take(n);
    return changetype<Context>(room);
  }

  /** Ends the call with an error: return ctx.fail(weft.Code.NotFound, "no such order"). */
  fail<T = Value>(code: Code, message: string): T | null {
    fail(code, message);
    return null;
  }

  /** Adds a protobuf message to the error that the call ends with, by its full name such as google.rpc.RetryInfo. */
  detail(type: string, message: Bytes): void {
    const t = utf8(type);
    abi.error_detail(changetype<usize>(t), t.byteLength, message.dataStart, message.byteLength);
  }

  /** Whether anything went wrong. */
  get failed(): bool {
    return failed();
  }

  /** Takes away what went wrong, so that the handler goes on; null when nothing did. */
  recover(): Failure | null {
    return recover();
  }

  /** A header of the call, or empty. Several values are joined by ", ". :names lists all, :procedure is what was called. */
  header(name: string): string {
    if (failed()) return "";
    const k = utf8(name);
    const v = optional(abi.header_get(changetype<usize>(k), k.byteLength, room, roomSize), "header ", name);
    return v ? decode(v) : "";
  }

  /** Adds a value to a header of the answer. */
  setHeader(name: string, value: string): void {
    const k = utf8(name), v = utf8(value);
    abi.header_set(changetype<usize>(k), k.byteLength, changetype<usize>(v), v.byteLength);
  }

  /** Adds a value to a trailer of the answer. */
  setTrailer(name: string, value: string): void {
    const k = utf8(name), v = utf8(value);
    abi.trailer_set(changetype<usize>(k), k.byteLength, changetype<usize>(v), v.byteLength);
  }

  /** Waits for the next message; null after the last. Of a call without a stream the input is the only one. */
  recv(): Bytes | null {
    if (failed()) return null;
    const n = abi.recv(room, roomSize);
    return n == -(<i64>Code.OutOfRange) ? null : found(n, "recv", "");
  }

  /** Sends a message, and waits until there is room. A call without a stream has one. Whoever sends returns null. */
  send<T>(message: T): void {
    if (failed()) return;
    const m = encode<T>(message);
    check(abi.send(m.dataStart, m.byteLength), "send", "");
  }

  /** Sends the headers of the answer, as the first send does too. None can be set afterwards. */
  sendHeaders(): void {
    if (!failed()) abi.send_headers();
  }

  /** A key of the module's state; null when it is not there. */
  get(key: string): Bytes | null {
    if (failed()) return null;
    const k = utf8(key);
    return optional(abi.state_get(changetype<usize>(k), k.byteLength, room, roomSize), "state key ", key);
  }

  /** A key of the module's state that holds JSON; a null Value when it is not there. */
  getJSON(key: string): Value {
    const v = this.get(key);
    return v ? parse(v, "state key " + key, Code.DataLoss) : new Value();
  }

  /** Writes a key: a text or bytes as they are, anything else as JSON. Later reads of this call see it. */
  set<T>(key: string, value: T): void {
    if (failed()) return;
    const k = utf8(key), v = encode<T>(value);
    check(abi.state_set(changetype<usize>(k), k.byteLength, v.dataStart, v.byteLength), "state key ", key);
  }

  /** Removes a key; one that is not there is fine. */
  delete(key: string): void {
    if (failed()) return;
    const k = utf8(key);
    check(abi.state_delete(changetype<usize>(k), k.byteLength), "state key ", key);
  }

  /** An event whose data is JSON, sent once the handler has ended without an error. */
  publish<T>(type: string, data: T): void {
    if (failed()) return;
    const t = utf8(type), d = encode<T>(data);
    check(abi.publish(changetype<usize>(t), t.byteLength, d.dataStart, d.byteLength), "event ", type);
  }

  /** Asks a peer, as in "payments/payments.v1.Payments/Charge". */
  call<T>(procedure: string, request: T): Bytes {
    if (failed()) return new Uint8Array(0);
    const p = utf8(procedure), r = encode<T>(request);
    return answer(abi.call(changetype<usize>(p), p.byteLength, r.dataStart, r.byteLength, room, roomSize), "call of ", procedure);
  }

  /** The details of the error that the last call, or callJSON, gave. */
  callDetails(): Detail[] {
    const all: Detail[] = [];
    while (true) {
      const d = optional(abi.call_detail(all.length, room, roomSize), "call_detail", "");
      const end = d ? d.indexOf(0) : -1;
      if (!d || end < 0) return all;
      all.push(new Detail(decode(d.subarray(0, end)), d.slice(end + 1)));
    }
  }

  /** Asks a peer in JSON. */
  callJSON<T>(procedure: string, request: T): Value {
    return parse(this.call<T>(procedure, request), "answer of " + procedure, Code.Internal);
  }

  /** Sends a request to the outside, through the same gate as call. */
  http(request: Request): Response {
    if (failed()) return new Response(new Value());
    const r = encode(request);
    const v = answer(abi.http(r.dataStart, r.byteLength, room, roomSize), "request to ", request.url);
    return new Response(parse(v, "answer of " + request.url, Code.Internal));
  }

  /** A configuration value of the module; null when there is none. */
  config(key: string): string | null {
    if (failed()) return null;
    const k = utf8(key);
    const v = optional(abi.config_get(changetype<usize>(k), k.byteLength, room, roomSize), "config key ", key);
    return v ? decode(v) : null;
  }

  /** A secret that the module was granted. Do not log it. */
  secret(name: string): Bytes {
    if (failed()) return new Uint8Array(0);
    const k = utf8(name);
    return answer(abi.secret_get(changetype<usize>(k), k.byteLength, room, roomSize), "secret ", name);
  }

  /** Milliseconds that the call has left. */
  get remaining(): i64 {
    return abi.deadline();
  }

  /** Writes one line into the host's log. */
  log(level: Level, message: string): void {
    const m = utf8(message);
    abi.log(level, changetype<usize>(m), m.byteLength);
  }
}

/** Where the host puts an input and takes the output, without a call of it: docs/ABI.md. */
// @ts-ignore: the decorator is AssemblyScript's
@unmanaged
class Mailbox {
  served: u32;
  room: usize;
  roomFor: u32;
  inputLength: u32;
  output: usize;
  outputLength: u32;
}

const mailbox = changetype<Mailbox>(memory.data(offsetof<Mailbox>()));

/** A module that exports it is called faster. */
export function weft_mailbox(): usize {
  return changetype<usize>(mailbox);
}

let input = roomFor(1024);

/** roomFor is where inputs of up to n bytes will lie. */
function roomFor(n: u32): Bytes {
  const b = new Uint8Array(n);
  mailbox.room = b.dataStart;
  mailbox.roomFor = n;
  return b;
}

/*
 * What each call runs is inlined into its export: an import costs more in a
 * function that the export calls. And it has addresses where others have
 * references, of which the collector would have to be told.
 */

/** take has the input lie where the last one did, or in a larger buffer. */
// @ts-ignore: the decorator is AssemblyScript's
@inline
function take(n: u32): void {
  if (n > mailbox.roomFor) input = roomFor(n);
  const view = changetype<usize>(input), data = load<usize>(view, offsetof<Uint8Array>("dataStart"));
  store<u32>(view, n, offsetof<Uint8Array>("byteLength"));
  store<u32>(data - 4, n); // the byteLength of the buffer
  if (n != mailbox.inputLength) abi.input(data, n, 0);
}

/** found is what an import with a result of i64 gave: n bytes, or minus a code; null after a code. */
function found(n: i64, kind: string, name: string): Bytes | null {
  if (n < 0) {
    check(<u32>-n, kind, name);
    return null;
  }
  const b = new Uint8Array(<i32>n);
  if (<u32>n > roomSize) abi.result(b.dataStart, <u32>n, 0);
  else memory.copy(b.dataStart, room, <usize>n);
  return b;
}

/** optional is found where NotFound is no failure. */
function optional(n: i64, kind: string, name: string): Bytes | null {
  return n == -(<i64>Code.NotFound) ? null : found(n, kind, name);
}

/** answer is found, or after a failure no bytes. */
function answer(n: i64, kind: string, name: string): Bytes {
  const b = found(n, kind, name);
  return b ? b : new Uint8Array(0);
}

/** check keeps the error of the last import, of which the host has a text perhaps. */
function check(code: u32, kind: string, name: string): void {
  if (!code) return;
  const n = abi.result(room, roomSize, 0);
  const why = n ? String.UTF8.decodeUnsafe(room, n) : "code " + code.toString();
  fail(code, kind + name + ": " + why);
}

/**
 * bytes runs one call of a handler of bytes. Give it the argument of the export
 * and return its result. Null is an empty answer.
 */
// @ts-ignore: the decorator is AssemblyScript's
@inline
export function bytes(n: u32, handler: (ctx: Context) => Bytes | null): u32 {
  return end(changetype<usize>(handler(Context.of(n))));
}

/**
 * json runs one call of a handler of JSON. In is Value, or a class whose
 * constructor takes one. Input that is no JSON, or that the constructor finds of
 * another kind, is answered with invalid_argument and the handler is not run.
 */
export function json<In>(n: u32, handler: (ctx: Context, input: In) => Value | null): u32 {
  const ctx = Context.of(n);
  const v = parse(ctx.input);
  const input = idof<In>() == idof<Value>() ? changetype<In>(v) : instantiate<In>(v);
  if (failed()) return leave(null);
  const out = handler(ctx, input);
  return leave(out && !failed() ? encode<Value>(out) : null);
}

/** leave is what an export returns: what went wrong, or 0 with this output. */
export function leave(out: Bytes | null): u32 {
  return end(changetype<usize>(out));
}

/** end is leave of the address of an array, or 0. */
// @ts-ignore: the decorator is AssemblyScript's
@inline
function end(out: usize): u32 {
  if (failed()) return failure();
  if (out) put(load<usize>(out, offsetof<Uint8Array>("dataStart")), load<u32>(out, offsetof<Uint8Array>("byteLength")));
  return 0;
}

/** put gives the host an output. Nothing is collected before the host has it: only what allocates collects. */
// @ts-ignore: the decorator is AssemblyScript's
@inline
function put(data: usize, n: u32): void {
  if (!mailbox.served) return abi.output(data, n);
  mailbox.output = data;
  mailbox.outputLength = n;
}

/** failure is what an export returns after one. */
function failure(): u32 {
  const f = recover()!;
  const m = utf8(f.message);
  put(changetype<usize>(m), m.byteLength);
  return f.code;
}

/** What throw and a failed assertion do: a line of the log, and the end of the call. */
// @ts-ignore: the decorator is AssemblyScript's
@global
function weftAbort(message: string | null, file: string | null, line: u32, column: u32): void {
  const m = utf8((message ? message : "abort") + " in " + (file ? file : "?") + ":" + line.toString() + ":" + column.toString());
  abi.log(Level.Error, changetype<usize>(m), m.byteLength);
  unreachable();
}
