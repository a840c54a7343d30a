import { Bytes, fromBase64, toBase64 } from "./bytes";
import { Code, fail } from "./failure";
import { Value } from "./json";

/** A plain HTTP request. The module must have been granted the host and port of its URL. */
export class Request {
  private headers: Value = Value.object();

  constructor(public method: string, public url: string, public body: Bytes | null = null) {}

  header(name: string, value: string): Request {
    this.headers.set(name, value);
    return this;
  }

  toJSON(): Value {
    const v = Value.object().set("method", this.method).set("url", this.url).set("headers", this.headers);
    const body = this.body;
    return body ? v.set("body", toBase64(body)) : v;
  }
}

/** The answer to a Request, whatever its status. */
export class Response {
  status: i32;
  body: Bytes;
  private headers: Value;

  constructor(v: Value) {
    this.status = <i32>v.integer("status");
    this.headers = v.get("headers");
    const body = fromBase64(v.text("body"));
    if (!body) fail(Code.Internal, "the body of the answer is no base64");
    this.body = body ? body : new Uint8Array(0);
  }

  /** A header by its lower-case name, or empty. */
  header(name: string): string {
    return this.headers.text(name);
  }
}
