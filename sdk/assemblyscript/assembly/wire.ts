// Protobuf's wire format, for the code that weft module generate writes. Fields
// that a message does not have are dropped.
import { Bytes, isUTF8, utf8 } from "./bytes";
import { Context, leave } from "./context";
import { Code, fail, failed } from "./failure";

/** How a value lies in the bytes. */
export const VARINT: u32 = 0;
export const FIXED64: u32 = 1;
export const BYTES: u32 = 2;
export const FIXED32: u32 = 5;
const GROUP: u32 = 3;
const GROUP_END: u32 = 4;

/** How deep messages may lie in each other. */
export const DEPTH_MAX: i32 = 100;

/** What generated code makes of a message. */
export abstract class Message {
  /** Its name in protobuf, such as google.protobuf.Duration. */
  abstract protoName(): string;
  /** Adds the fields that r has. */
  abstract read(r: Reader): void;
  /** Writes the fields that are there. */
  abstract write(w: Writer): void;
}

/** Reads data into m; bytes that are no such message fail with InvalidArgument. */
export function decode(data: Bytes, m: Message): void {
  const r = new Reader(data);
  m.read(r);
  if (r.error != "") fail(Code.InvalidArgument, m.protoName() + ": " + r.error);
}

/** The encoding of m. */
export function encode(m: Message): Bytes {
  const w = new Writer();
  m.write(w);
  return w.bytes();
}

/** Adds a message to the error that the call ends with. */
export function detail(ctx: Context, m: Message): void {
  ctx.detail(m.protoName(), encode(m));
}

/** The messages of a stream. */
export class Messages<T extends Message> {
  constructor(private ctx: Context) {}

  /** The next message; null after the last, and when anything went wrong. */
  next(): T | null {
    const data = this.ctx.recv();
    if (!data) return null;
    const m = instantiate<T>();
    decode(data, m);
    return failed() ? null : m;
  }
}

/** Where the messages of a stream go. */
export class Sender<T extends Message> {
  constructor(private ctx: Context) {}

  /** Sends a message, and waits until there is room for it. */
  send(m: T): void {
    if (!failed()) this.ctx.send<Bytes>(encode(m));
  }
}

/** Runs a method with a message each way. Null is an empty answer. */
export function unary<I extends Message, O extends Message>(n: u32, method: (ctx: Context, it: I) => O | null): u32 {
  const ctx = Context.of(n);
  const it = instantiate<I>();
  decode(ctx.input, it);
  if (failed()) return leave(null);
  const out = method(ctx, it);
  return leave(out && !failed() ? encode(out) : null);
}

/** Runs a method that answers with a stream. */
export function serverStream<I extends Message, O extends Message>(n: u32, method: (ctx: Context, it: I, to: Sender<O>) => void): u32 {
  const ctx = Context.of(n);
  const it = new Messages<I>(ctx).next();
  if (it) method(ctx, it, new Sender<O>(ctx));
  else fail(Code.InvalidArgument, "the request is missing");
  return leave(null);
}

/** Runs a method that takes a stream. */
export function clientStream<I extends Message, O extends Message>(n: u32, method: (ctx: Context, it: Messages<I>) => O | null): u32 {
  const ctx = Context.of(n);
  const out = method(ctx, new Messages<I>(ctx));
  if (!failed()) ctx.send<Bytes>(out ? encode(out) : new Uint8Array(0));
  return leave(null);
}

/** Runs a method with a stream each way. */
export function bidiStream<I extends Message, O extends Message>(n: u32, method: (ctx: Context, it: Messages<I>, to: Sender<O>) => void): u32 {
  const ctx = Context.of(n);
  method(ctx, new Messages<I>(ctx), new Sender<O>(ctx));
  return leave(null);
}

/** Reads a message, a field at a time. */
export class Reader {
  /** The number of the field that next has found. */
  num: u32 = 0;
  /** The first thing that is wrong, or empty. */
  error: string = "";

  private at: usize;
  private end: usize;
  private behind: usize = 0; // the end of what a packed list lies in; 0 without one
  private kind: u32 = 0;
  private waiting: bool = false; // the field's value is still the next
  private depth: i32 = 0;

  constructor(private data: Bytes) {
    this.at = data.dataStart;
    this.end = this.at + data.byteLength;
  }

  /** Goes to the next field, past the value of the one before if it was not taken. */
  next(): bool {
    if (this.waiting) {
      this.waiting = false;
      this.skip(this.kind, this.num, 0);
    }
    if (this.at >= this.end || this.error != "") return false;
    this.tag();
    if (this.kind == GROUP_END) this.fail("a field has no valid number or type");
    this.waiting = this.error == "";
    return this.waiting;
  }

  /** Says whether the value is of that kind, and is to be taken now. */
  take(kind: u32): bool {
    if (!this.waiting || this.kind != kind) return false;
    this.waiting = false;
    return true;
  }

  /** Is take of a list of numbers: after each, more says whether there is another. */
  list(kind: u32): bool {
    if (this.take(kind)) return true;
    if (!this.take(BYTES)) return false;
    const n = this.length();
    if (this.error != "" || n == 0) return false;
    this.behind = this.end;
    this.end = this.at + n;
    return true;
  }

  more(): bool {
    if (this.at < this.end && this.behind && this.error == "") return true;
    if (this.behind) this.end = this.behind;
    this.behind = 0;
    return false;
  }

  private fail(why: string): void {
    if (this.error == "") this.error = why;
    this.at = this.end;
    this.waiting = false;
  }

  private tag(): void {
    const tag = this.varint();
    this.kind = <u32>tag & 7;
    if (this.error == "" && (tag >> 3 < 1 || tag >> 3 > (1 << 29) - 1 || this.kind > FIXED32)) this.fail("a field has no valid number or type");
    this.num = <u32>(tag >> 3);
  }

  private varint(): u64 {
    let v: u64 = 0;
    for (let shift: u64 = 0; this.at < this.end; shift += 7) {
      const b = load<u8>(this.at++);
      if (shift == 63 && b > 1) {
        this.fail("a number has more than 64 bits");
        return 0;
      }
      v |= <u64>(b & 0x7f) << shift;
      if (b < 0x80) return v;
    }
    this.fail("the message ends in the middle of a field");
    return 0;
  }

  /** The length of what follows, of which there is that much. */
  private length(): usize {
    const n = this.varint();
    if (n > <u64>(this.end - this.at)) this.fail("the message ends in the middle of a field");
    return this.error == "" ? <usize>n : 0;
  }

  private cut(): void {
    const n = this.length(); // moves at
    this.at += n;
  }

  private has(n: usize): bool {
    if (n > this.end - this.at) this.fail("the message ends in the middle of a field");
    return this.error == "";
  }

  private skip(kind: u32, num: u32, depth: i32): void {
    if (kind == VARINT) this.varint();
    else if (kind == FIXED64) this.fixed64();
    else if (kind == FIXED32) this.fixed32();
    else if (kind == BYTES) this.cut();
    else if (kind == GROUP_END) this.fail("a field has no valid number or type");
    else if (depth > DEPTH_MAX) this.fail("messages lie more than 100 deep in each other");
    else
      while (this.error == "") {
        this.tag();
        if (this.kind == GROUP_END && this.num == num) return;
        if (this.error == "") this.skip(this.kind, this.num, depth + 1);
      }
  }

  int32(): i32 {
    return <i32>this.varint();
  }

  int64(): i64 {
    return <i64>this.varint();
  }

  uint32(): u32 {
    return <u32>this.varint();
  }

  uint64(): u64 {
    return this.varint();
  }

  sint32(): i32 {
    const n = <u32>this.varint();
    return <i32>(n >> 1) ^ -<i32>(n & 1);
  }

  sint64(): i64 {
    const n = this.varint();
    return <i64>(n >> 1) ^ -<i64>(n & 1);
  }

  bool(): bool {
    return this.varint() != 0;
  }

  fixed32(): u32 {
    if (!this.has(4)) return 0;
    this.at += 4;
    return load<u32>(this.at - 4);
  }

  fixed64(): u64 {
    if (!this.has(8)) return 0;
    this.at += 8;
    return load<u64>(this.at - 8);
  }

  sfixed32(): i32 {
    return <i32>this.fixed32();
  }

  sfixed64(): i64 {
    return <i64>this.fixed64();
  }

  float(): f32 {
    return reinterpret<f32>(this.fixed32());
  }

  double(): f64 {
    return reinterpret<f64>(this.fixed64());
  }

  string(): string {
    const n = this.length();
    if (!isUTF8(this.at, this.at + n)) {
      this.fail("a string is not UTF-8");
      return "";
    }
    this.at += n;
    return String.UTF8.decodeUnsafe(this.at - n, n);
  }

  bytes(): Bytes {
    const n = this.length();
    const b = new Uint8Array(<i32>n);
    memory.copy(b.dataStart, this.at, n);
    this.at += n;
    return b;
  }

  /** Adds to m. */
  message(m: Message): void {
    const n = this.length();
    if (this.error != "") return;
    if (++this.depth > DEPTH_MAX) return this.fail("messages lie more than 100 deep in each other");
    const end = this.end;
    this.end = this.at + n;
    m.read(this);
    this.depth--;
    this.end = end;
    if (this.error != "") this.at = end;
  }

  /** Begins an entry of a map, and gives what leave wants. */
  enter(): usize {
    const n = this.length();
    if (++this.depth > DEPTH_MAX) this.fail("messages lie more than 100 deep in each other");
    const end = this.end;
    if (this.error == "") this.end = this.at + n;
    return end;
  }

  leave(end: usize): void {
    this.depth--;
    this.end = end;
    if (this.error != "") this.at = end;
  }
}

/** Writes a message. The number 0 is that of a value without a field: one of a packed list. */
export class Writer {
  private data: Bytes = new Uint8Array(64);
  private len: i32 = 0;

  bytes(): Bytes {
    return this.data.subarray(0, this.len);
  }

  private room(n: i32): usize {
    if (this.len + n > this.data.length) {
      const more = new Uint8Array(max(2 * this.data.length, this.len + n));
      memory.copy(more.dataStart, this.data.dataStart, this.len);
      this.data = more;
    }
    this.len += n;
    return this.data.dataStart + this.len - n;
  }

  private varint(v: u64): void {
    while (v >= 0x80) {
      store<u8>(this.room(1), <u8>v | 0x80);
      v >>= 7;
    }
    store<u8>(this.room(1), <u8>v);
  }

  private tag(num: u32, kind: u32): void {
    if (num) this.varint((<u64>num << 3) | kind);
  }

  private raw(num: u32, from: usize, n: usize): void {
    this.tag(num, BYTES);
    this.varint(n);
    memory.copy(this.room(<i32>n), from, n);
  }

  int32(num: u32, v: i32): void {
    this.uint64(num, <u64>(<i64>v));
  }

  int64(num: u32, v: i64): void {
    this.uint64(num, <u64>v);
  }

  uint32(num: u32, v: u32): void {
    this.uint64(num, v);
  }

  uint64(num: u32, v: u64): void {
    this.tag(num, VARINT);
    this.varint(v);
  }

  sint32(num: u32, v: i32): void {
    this.uint64(num, <u32>((v << 1) ^ (v >> 31)));
  }

  sint64(num: u32, v: i64): void {
    this.uint64(num, <u64>((v << 1) ^ (v >> 63)));
  }

  bool(num: u32, v: bool): void {
    this.uint64(num, v ? 1 : 0);
  }

  fixed32(num: u32, v: u32): void {
    this.tag(num, FIXED32);
    store<u32>(this.room(4), v);
  }

  fixed64(num: u32, v: u64): void {
    this.tag(num, FIXED64);
    store<u64>(this.room(8), v);
  }

  sfixed32(num: u32, v: i32): void {
    this.fixed32(num, <u32>v);
  }

  sfixed64(num: u32, v: i64): void {
    this.fixed64(num, <u64>v);
  }

  float(num: u32, v: f32): void {
    this.fixed32(num, reinterpret<u32>(v));
  }

  double(num: u32, v: f64): void {
    this.fixed64(num, reinterpret<u64>(v));
  }

  string(num: u32, v: string): void {
    const text = utf8(v);
    this.raw(num, changetype<usize>(text), text.byteLength);
  }

  bytesOf(num: u32, v: Bytes): void {
    this.raw(num, v.dataStart, v.byteLength);
  }

  message(num: u32, m: Message): void {
    this.bytesOf(num, encode(m));
  }

  /** Writes what another one has: a packed list, or an entry of a map. */
  inner(num: u32, w: Writer): void {
    this.bytesOf(num, w.bytes());
  }
}
