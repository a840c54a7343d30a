import { Value } from "./json";

export type Bytes = Uint8Array;

/** The text as UTF-8. Half a surrogate pair becomes U+FFFD. */
export function utf8(text: string): ArrayBuffer {
  return String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE);
}

/** A text as it is, bytes as they are, and anything else as JSON. */
export function encode<T>(v: T): Bytes {
  if (isNullable<T>()) return encode<NonNullable<T>>(v!);
  else if (isString<T>()) return Uint8Array.wrap(utf8(v));
  else if (idof<T>() == idof<Uint8Array>()) return v;
  else return Uint8Array.wrap(utf8(Value.of<T>(v).toString()));
}

/** The text that UTF-8 stands for. */
export function decode(b: Bytes): string {
  return String.UTF8.decodeUnsafe(b.dataStart, b.byteLength);
}

/** Whether what lies from one address to the other is UTF-8. */
export function isUTF8(at: usize, end: usize): bool {
  while (at < end) {
    const b = <u32>load<u8>(at++);
    if (b < 0x80) continue;
    const more: usize = b >= 0xc2 && b < 0xe0 ? 1 : b >= 0xe0 && b < 0xf0 ? 2 : b >= 0xf0 && b < 0xf5 ? 3 : 4;
    if (more == 4 || more > end - at) return false;
    const first = <u32>load<u8>(at);
    if ((b == 0xe0 && first < 0xa0) || (b == 0xed && first > 0x9f) || (b == 0xf0 && first < 0x90) || (b == 0xf4 && first > 0x8f)) return false;
    for (let i: usize = 0; i < more; i++) if ((load<u8>(at++) & 0xc0) != 0x80) return false;
  }
  return true;
}

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

export function toBase64(b: Bytes): string {
  const n = b.length;
  const out = new Uint8Array(((n + 2) / 3) * 4);
  for (let i = 0, to = 0; i < n; i += 3, to += 4) {
    const left = n - i;
    const group = (<u32>b[i] << 16) | (left > 1 ? <u32>b[i + 1] << 8 : 0) | (left > 2 ? <u32>b[i + 2] : 0);
    out[to] = <u8>digits.charCodeAt(group >> 18);
    out[to + 1] = <u8>digits.charCodeAt((group >> 12) & 63);
    out[to + 2] = left > 1 ? <u8>digits.charCodeAt((group >> 6) & 63) : 61;
    out[to + 3] = left > 2 ? <u8>digits.charCodeAt(group & 63) : 61;
  }
  return decode(out);
}

/** What a base64 text with padding stands for; null where it is none. */
export function fromBase64(text: string): Bytes | null {
  const n = text.length;
  if (n % 4 != 0) return null;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const out = new Uint8Array((n / 4) * 3 - padding);
  let group: u32 = 0;
  for (let i = 0, to = 0; i < n; i++) {
    const d = i < n - padding ? digit(text.charCodeAt(i)) : 0;
    if (d < 0) return null;
    group = (group << 6) | d;
    if (i % 4 != 3) continue;
    for (let shift = 16; shift >= 0 && to < out.length; shift -= 8) out[to++] = <u8>(group >> shift);
    group = 0;
  }
  return out;
}

function digit(c: i32): i32 {
  if (c >= 65 && c <= 90) return c - 65;
  if (c >= 97 && c <= 122) return c - 71;
  if (c >= 48 && c <= 57) return c + 4;
  return c == 43 ? 62 : c == 47 ? 63 : -1;
}
