import { Bytes } from "./bytes";
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
    const c = s.charCodeAt(i);
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
  const p = new Parser(src, blame);
  if (!p.more()) return new Value(Kind.Null, blame);
  const v = p.value(0);
  const wrong = p.wrong !== null || !p.more() ? p.wrong : "more than one value at byte " + p.at.toString();
  if (wrong === null) return v;
  fail(blame, what + " is no JSON: " + wrong);
  return new Value(Kind.Null, blame);
}

class Parser {
  at: i32 = 0;
  wrong: string | null = null;

  constructor(private src: Bytes, private blame: Code) {}

  /** more skips space, and says whether anything follows. */
  more(): bool {
    for (; this.at < this.src.length; this.at++) {
      const c = this.src[this.at];
      if (c != 32 && c != 10 && c != 13 && c != 9) return true;
    }
    return false;
  }

  private bad(why: string): Value {
    if (this.wrong === null) this.wrong = why + " at byte " + this.at.toString();
    return new Value(Kind.Null, this.blame);
  }

  /** peek is the next byte, 0 at the end. */
  private peek(): u8 {
    return this.at < this.src.length ? this.src[this.at] : 0;
  }

  private take(c: u8): bool {
    if (this.peek() != c) return false;
    this.at++;
    return true;
  }

  value(depth: i32): Value {
    if (depth > depthMax) return this.bad("nesting too deep");
    this.more();
    switch (this.peek()) {
      case 123: return this.object(depth); // {
      case 91: return this.list(depth); // [
      case 34: return Value.of(this.string(), this.blame); // "
      case 116: return this.word("true", Value.of(true, this.blame));
      case 102: return this.word("false", Value.of(false, this.blame));
      case 110: return this.word("null", new Value(Kind.Null, this.blame));
      default: return this.number();
    }
  }

  private word(w: string, v: Value): Value {
    for (let i = 0; i < w.length; i++) if (!this.take(<u8>w.charCodeAt(i))) return this.bad("want " + w);
    return v;
  }

  private object(depth: i32): Value {
    const v = Value.object(this.blame);
    this.at++;
    this.more();
    if (this.take(125)) return v;
    while (true) {
      this.more();
      if (this.peek() != 34) return this.bad("want a name");
      const name = this.string();
      this.more();
      if (!this.take(58)) return this.bad("want a colon");
      v.set(name, this.value(depth + 1));
      this.more();
      if (this.wrong !== null || this.take(125)) return v;
      if (!this.take(44)) return this.bad("want a comma or }");
    }
  }

  private list(depth: i32): Value {
    const v = Value.list(this.blame);
    this.at++;
    this.more();
    if (this.take(93)) return v;
    while (true) {
      v.push(this.value(depth + 1));
      this.more();
      if (this.wrong !== null || this.take(93)) return v;
      if (!this.take(44)) return this.bad("want a comma or ]");
    }
  }

  private string(): string {
    const parts: string[] = [];
    let from = ++this.at;
    while (true) {
      const c = this.peek();
      if (c < 32) {
        this.bad("want the end of a string");
        return "";
      }
      if (c == 34 || c == 92) {
        parts.push(String.UTF8.decodeUnsafe(this.src.dataStart + from, this.at - from));
        this.at++;
        if (c == 34) return parts.length == 1 ? parts[0] : parts.join("");
        parts.push(this.escape());
        from = this.at;
      } else this.at++;
    }
  }

  private escape(): string {
    const c = this.peek();
    this.at++;
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
      default: this.bad("want an escape"); return "";
    }
    let unit = 0;
    for (let i = 0; i < 4; i++) {
      const d = hex(this.peek());
      if (d < 0) {
        this.bad("want four hexadecimal digits");
        return "";
      }
      unit = (unit << 4) | d;
      this.at++;
    }
    return String.fromCharCode(unit);
  }

  private number(): Value {
    const from = this.at;
    const minus = this.take(45);
    const first = this.at;
    const n = this.digits();
    if (n == 0 || (n > 1 && this.src[first] == 48)) return this.bad("want a value");
    let whole = n <= 19;
    if (this.take(46)) {
      whole = false;
      if (!this.digits()) return this.bad("want a digit");
    }
    if (this.take(101) || this.take(69)) {
      whole = false;
      if (!this.take(43)) this.take(45);
      if (!this.digits()) return this.bad("want a digit");
    }
    if (whole) {
      let u: u64 = 0; // 19 digits fit
      for (let i = first; i < this.at; i++) u = u * 10 + (this.src[i] - 48);
      if (u <= <u64>i64.MAX_VALUE + (minus ? 1 : 0)) return Value.of<i64>(minus ? -(<i64>u) : <i64>u, this.blame);
    }
    return Value.of<f64>(parseFloat(String.UTF8.decodeUnsafe(this.src.dataStart + from, this.at - from)), this.blame);
  }

  private digits(): i32 {
    const from = this.at;
    while (this.peek() >= 48 && this.peek() <= 57) this.at++;
    return this.at - from;
  }
}

function hex(c: u8): i32 {
  if (c >= 48 && c <= 57) return c - 48;
  const lower = c | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
