// echo in AssemblyScript: what each handler does is in ../README.md.
import * as weft from "../../../sdk/assemblyscript/assembly";
export { weft_mailbox } from "../../../sdk/assemblyscript/assembly";

export function noop(n: u32): u32 {
  return weft.bytes(n, () => null);
}

export function echo(n: u32): u32 {
  return weft.bytes(n, (ctx) => ctx.input);
}

function number(ctx: weft.Context, text: string): u32 {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 48 || c > 57) ctx.fail(weft.Code.InvalidArgument, "the input is no number");
  }
  return U32.parseInt(text);
}

export function loop(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const rounds = number(ctx, weft.decode(ctx.input));
    let h: u32 = 2166136261;
    for (let i: u32 = 0; i < rounds; i++) h = (h ^ (i & 255)) * 16777619;
    return weft.encode(h.toString());
  });
}

class Question {
  name: string;
  n: i64;

  constructor(v: weft.Value) {
    this.name = v.text("name");
    this.n = v.integer("n");
  }
}

export function json(n: u32): u32 {
  return weft.json<Question>(n, (ctx, q) => {
    if (q.name == "") return ctx.fail(weft.Code.InvalidArgument, "name is missing");
    return weft.Value.object().set("greeting", "hello " + q.name).set("next", q.n + 1);
  });
}

export function fail(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const text = weft.decode(ctx.input), at = text.indexOf(" ");
    return ctx.fail<weft.Bytes>(number(ctx, text.slice(0, at)), text.slice(at + 1));
  });
}

export function headers(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const v = ctx.header("x-name");
    ctx.setHeader("x-answer", "hello " + v);
    return weft.encode(v);
  });
}

export function state(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const words = weft.decode(ctx.input).split(" ");
    if (words.length < 2) return ctx.fail<weft.Bytes>(weft.Code.InvalidArgument, "want a verb and a key");
    if (words[0] == "set") {
      ctx.set(words[1], words.slice(2).join(" "));
      return null;
    }
    if (words[0] == "delete") {
      ctx.delete(words[1]);
      return null;
    }
    const v = ctx.get(words[1]);
    return v ? v : ctx.fail<weft.Bytes>(weft.Code.NotFound, "state");
  });
}

export function publish(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    ctx.publish("echo.published", ctx.input);
    return null;
  });
}

export function call(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const v = ctx.call("peer/echo", ctx.input), details = ctx.callDetails();
    for (let i = 0; i < details.length; i++) ctx.detail(details[i].type, details[i].value);
    return v;
  });
}

export function http(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const ping = weft.encode("ping\0?");
    ping[5] = 0xff;
    const r = ctx.http(new weft.Request("POST", weft.decode(ctx.input), ping).header("x-a", "b"));
    const head = weft.encode(r.status.toString() + " " + r.header("x-from") + " ");
    const out = new Uint8Array(head.length + r.body.length);
    out.set(head);
    out.set(r.body, head.length);
    return out;
  });
}

export function config(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const v = ctx.config(weft.decode(ctx.input));
    return v === null ? ctx.fail<weft.Bytes>(weft.Code.NotFound, "config") : weft.encode(v);
  });
}

export function secret(n: u32): u32 {
  return weft.bytes(n, (ctx) => ctx.secret(weft.decode(ctx.input)));
}

export function logs(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    for (let level = weft.Level.Debug; level <= weft.Level.Error; level++) ctx.log(level, weft.decode(ctx.input));
    return null;
  });
}

export function deadline(n: u32): u32 {
  return weft.bytes(n, (ctx) => weft.encode(ctx.remaining.toString()));
}

export function large(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const b = new Uint8Array(number(ctx, weft.decode(ctx.input)));
    for (let i = 0; i < b.length; i++) b[i] = <u8>(97 + (i % 26));
    return b;
  });
}

let calls: u32 = 0;

export function allocate(n: u32): u32 {
  return weft.bytes(n, () => {
    new Uint8Array(64 << 10).fill(<u8>calls);
    calls++;
    return weft.encode(calls.toString());
  });
}

export function stream(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    ctx.setHeader("x-kind", "echo");
    ctx.sendHeaders();
    let messages = 0;
    for (let m = ctx.recv(); m !== null; m = ctx.recv()) {
      ctx.send(m);
      messages++;
    }
    ctx.setTrailer("x-messages", messages.toString());
    return null;
  });
}

export function detail(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    ctx.detail("google.rpc.ErrorInfo", ctx.input);
    ctx.detail("echo.v1.Empty", new Uint8Array(0));
    return ctx.fail<weft.Bytes>(weft.Code.FailedPrecondition, "see the details");
  });
}
