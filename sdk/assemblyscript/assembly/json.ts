import { Bytes, isUTF8 } from "./bytes";
import { Code, fail } from "./failure";

export enum Kind {
  Null,
  Boolean,
  Integer,
  Number,
  Text,
  List,
  Object,
}

const names: StaticArray<string> = ["null", "a boolean", "an integer", "a number", "a string", "a list", "an object"];

/**
 * Value is JSON: what a handler reads of its input, and what it answers.
 *
 *     const name = input.text("name");
 *     return Value.object().set("greeting", "hello " + name);
 *
 * A field that is not there, or is null, reads as nothing: "", 0, false or an
 * empty list. One of another kind has the call fail.
 */
export class Value {
  private bits: i64 = 0; // of a boolean, an integer or a number
  private string: string = "";
  private items: Array<Value> | null = null;
  private fields: Map<string, Value> | null = null;

  /** blame is the code of the failure when another kind was wanted. */
  constructor(readonly kind: Kind = Kind.Null, readonly blame: Code = Code.InvalidArgument) {}

  static object(blame: Code = Code.InvalidArgument): Value {
    const v = new Value(Kind.Object, blame);
    v.fields = new Map<string, Value>();
    return v;
  }

  static list(blame: Code = Code.InvalidArgument): Value {
    const v = new Value(Kind.List, blame);
    v.items = [];
    return v;
  }

  /** A text, a number, a boolean, an array of these, or a class with toJSON(): Value. */
  static of<T>(from: T, blame: Code = Code.InvalidArgument): Value {
    if (isNullable<T>()) {
      return from === null ? new Value(Kind.Null, blame) : Value.of<NonNullable<T>>(from, blame);
    } else if (isBoolean<T>()) {
      const v = new Value(Kind.Boolean, blame);
      v.bits = i64(from);
      return v;
    } else if (isInteger<T>()) {
      if (!isSigned<T>() && <i64>from < 0) return Value.of<f64>(<f64>from, blame); // 2^63 and more
      const v = new Value(Kind.Integer, blame);
      v.bits = i64(from);
      return v;
    } else if (isFloat<T>()) {
      const v = new Value(Kind.Number, blame);
      v.bits = reinterpret<i64>(f64(from));
      return v;
    } else if (isString<T>()) {
      const v = new Value(Kind.Text, blame);
      v.string = from;
      return v;
    } else if (isArray<T>()) {
      const v = Value.list(blame);
      for (let i = 0; i < from.length; i++) v.push(from[i]);
      return v;
    } else {
      return from.toJSON();
    }
  }

  /** Sets a field of an object. */
  set<T>(name: string, value: T): Value {
    this.fields!.set(name, Value.of<T>(value));
    return this;
  }

  /** Adds to a list. */
  push<T>(value: T): Value {
    this.items!.push(Value.of<T>(value));
    return this;
  }

  get isNull(): bool {
    return this.kind == Kind.Null;
  }

  /** A field of an object. */
  get(name: string): Value {
    const fields = this.fields;
    if (fields) return fields.has(name) ? fields.get(name) : new Value(Kind.Null, this.blame);
    if (this.kind != Kind.Null) fail(this.blame, names[this.kind] + " where an object with " + name + " is due");
    return new Value(Kind.Null, this.blame);
  }

  /** The names of an object's fields. */
  keys(): Array<string> {
    const fields = this.fields;
    return fields ? fields.keys() : [];
  }

  /** The field of this name, or without a name the value itself, as what it must be. */
  text(name: string | null = null): string {
    const v = this.want(Kind.Text, name);
    return v ? v.string : "";
  }

  integer(name: string | null = null): i64 {
    const v = this.want(Kind.Integer, name);
    return v ? v.bits : 0;
  }

  number(name: string | null = null): f64 {
    const v = this.want(Kind.Number, name);
    if (!v) return 0;
    return v.kind == Kind.Integer ? <f64>v.bits : reinterpret<f64>(v.bits);
  }

  boolean(name: string | null = null): bool {
    const v = this.want(Kind.Boolean, name);
    return v ? v.bits != 0 : false;
  }

  list(name: string | null = null): Array<Value> {
    const v = this.want(Kind.List, name);
    return v ? v.items! : [];
  }

  private want(kind: Kind, name: string | null): Value | null {
    const v = name === null ? this : this.get(name);
    if (v.kind == kind || (kind == Kind.Number && v.kind == Kind.Integer)) return v;
    if (v.kind != Kind.Null) fail(v.blame, (name === null ? "it" : name) + " is " + names[v.kind] + ", want " + names[kind]);
    return null;
  }

  toJSON(): Value {
    return this;
  }

  /** The value as it is written in JSON. */
  toString(): string {
    const out: string[] = [];
    this.write(out);
    return out.join("");
  }

  private write(out: string[]): void {
    switch (this.kind) {
      case Kind.Boolean: out.push(this.bits ? "true" : "false"); break;
      case Kind.Integer: out.push(this.bits.toString()); break;
      case Kind.Number: out.push(isFinite(this.number()) ? this.number().toString() : "null"); break;
      case Kind.Text: quote(this.string, out); break;
      case Kind.List: {
        const items = this.items!;
        for (let i = 0; i < items.length; i++) {
          out.push(i ? "," : "[");
          items[i].write(out);
        }
        out.push(items.length ? "]" : "[]");
        break;
      }
      case Kind.Object: {
        const keys = this.keys();
        for (let i = 0; i < keys.length; i++) {
          out.push(i ? "," : "{");
          quote(keys[i], out);
          out.push(":");
          this.fields!.get(keys[i]).write(out);
        }
        out.push(keys.length ? "}" : "{}");
        break;
      }
      default: out.push("null");
    }
  }
}

function quote(s: string, out: string[]): void {
  out.push('"');
  let from = 0;
  for (let i = 0; i < s.length; i++) {
    const c: i32 = load<u16>(changetype<usize>(s) + (<usize>i << 1));
    if (c >= 32 && c != 34 && c != 92) continue;
    out.push(s.substring(from, i));
    out.push(c == 34 ? '\\"' : c == 92 ? "\\\\" : "\\u" + c.toString(16).padStart(4, "0"));
    from = i + 1;
  }
  out.push(from ? s.substring(from) : s);
  out.push('"');
}

/** The deepest nesting that parse reads. */
export const depthMax = 100;

/**
 * parse reads JSON; nothing but space is null. What is no JSON has the call fail
 * with the code blame, and reads as null.
 */
export function parse(src: Bytes, what: string = "input", blame: Code = Code.InvalidArgument): Value {
  start = at = src.dataStart; // src is kept by whoever calls
  end = at + src.byteLength;
  code = blame;
  wrong = null;
  if (!more()) return new Value(Kind.Null, blame);
  const v = value(0);
  const why = wrong !== null || !more() ? wrong : "more than one value" + place();
  if (why === null) return v;
  wrong = null;
  fail(blame, what + " is no JSON: " + why);
  return new Value(Kind.Null, blame);
}

// Where parse is, of which one runs at a time. The collector need not be told of these
// at every byte, as of an object that has them.
let start: usize = 0; // of the bytes
let at: usize = 0;
let end: usize = 0;
let code: Code = Code.InvalidArgument; // of the values
let wrong: string | null = null;

/** more skips space, and says whether anything follows. */
function more(): bool {
  for (; at < end; at++) {
    const c = load<u8>(at);
    if (c != 32 && c != 10 && c != 13 && c != 9) return true;
  }
  return false;
}

function place(): string {
  return " at byte " + (at - start).toString();
}

function bad(why: string): Value {
  if (wrong === null) wrong = why + place();
  return new Value(Kind.Null, code);
}

/** peek is the next byte, 0 at the end. */
function peek(): u8 {
  return at < end ? load<u8>(at) : 0;
}

/** take goes past the next byte if it is c. */
function take(c: u8): bool {
  if (peek() != c) return false;
  at++;
  return true;
}

function value(depth: i32): Value {
  if (depth > depthMax) return bad("nesting too deep");
  more();
  switch (peek()) {
    case 123: return object(depth); // {
    case 91: return list(depth); // [
    case 34: return Value.of(text(), code); // "
    case 116: return word("true", Value.of(true, code));
    case 102: return word("false", Value.of(false, code));
    case 110: return word("null", new Value(Kind.Null, code));
    default: return number();
  }
}

function word(w: string, v: Value): Value {
  for (let i = 0; i < w.length; i++) if (!take(<u8>w.charCodeAt(i))) return bad("want " + w);
  return v;
}

function object(depth: i32): Value {
  const v = Value.object(code);
  at++;
  more();
  if (take(125)) return v;
  while (true) {
    more();
    if (peek() != 34) return bad("want a name");
    const name = text();
    more();
    if (!take(58)) return bad("want a colon");
    v.set(name, value(depth + 1));
    more();
    if (wrong !== null || take(125)) return v;
    if (!take(44)) return bad("want a comma or }");
  }
}

function list(depth: i32): Value {
  const v = Value.list(code);
  at++;
  more();
  if (take(93)) return v;
  while (true) {
    v.push(value(depth + 1));
    more();
    if (wrong !== null || take(93)) return v;
    if (!take(44)) return bad("want a comma or ]");
  }
}

function text(): string {
  let parts: string[] | null = null; // up to the last escape
  let from = ++at;
  while (true) {
    const c = peek();
    if (c < 32) {
      bad("want the end of a string");
      return "";
    }
    if (c == 34 || c == 92) {
      if (!isUTF8(from, at)) {
        bad("bytes that are no UTF-8");
        return "";
      }
      const part = String.UTF8.decodeUnsafe(from, at - from);
      at++;
      if (c == 34 && !parts) return part;
      if (!parts) parts = [];
      parts.push(part);
      if (c == 34) return parts.join("");
      parts.push(escape());
      from = at;
    } else at++;
  }
}

function escape(): string {
  const c = peek();
  at++;
  switch (c) {
    case 34: return '"';
    case 92: return "\\";
    case 47: return "/";
    case 98: return "\b";
    case 102: return "\f";
    case 110: return "\n";
    case 114: return "\r";
    case 116: return "\t";
    case 117: break;
    default: bad("want an escape"); return "";
  }
  let unit = 0;
  for (let i = 0; i < 4; i++) {
    const d = hex(peek());
    if (d < 0) {
      bad("want four hexadecimal digits");
      return "";
    }
    unit = (unit << 4) | d;
    at++;
  }
  return String.fromCharCode(unit);
}

function number(): Value {
  const from = at;
  const minus = take(45);
  const first = at;
  const n = digits();
  if (n == 0 || (n > 1 && load<u8>(first) == 48)) return bad("want a value");
  let whole = n <= 19;
  if (take(46)) {
    whole = false;
    if (!digits()) return bad("want a digit");
  }
  if (take(101) || take(69)) {
    whole = false;
    if (!take(43)) take(45);
    if (!digits()) return bad("want a digit");
  }
  if (whole) {
    let u: u64 = 0; // 19 digits fit
    for (let i = first; i < at; i++) u = u * 10 + (load<u8>(i) - 48);
    if (u <= <u64>i64.MAX_VALUE + (minus ? 1 : 0)) return Value.of<i64>(minus ? -(<i64>u) : <i64>u, code);
  }
  const f = parseFloat(String.UTF8.decodeUnsafe(from, at - from));
  return isFinite(f) ? Value.of<f64>(f, code) : bad("a number that is too large");
}

function digits(): i32 {
  const from = at;
  while (peek() >= 48 && peek() <= 57) at++;
  return <i32>(at - from);
}

function hex(c: u8): i32 {
  if (c >= 48 && c <= 57) return c - 48;
  const lower = c | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
