// What sdk.test.mjs calls: each part of the SDK that guests/echo does not use.
import * as weft from "../assembly";

class Item {
  sku: string;
  price: f64;

  constructor(v: weft.Value) {
    this.sku = v.text("sku");
    this.price = v.number("price");
  }

  toJSON(): weft.Value {
    return weft.Value.object().set("sku", this.sku).set("price", this.price);
  }
}

class Order {
  items: Item[] = [];
  gift: bool;
  tags: string[] = [];

  constructor(v: weft.Value) {
    const items = v.list("items"), tags = v.list("tags");
    for (let i = 0; i < items.length; i++) this.items.push(new Item(items[i]));
    for (let i = 0; i < tags.length; i++) this.tags.push(tags[i].text());
    this.gift = v.boolean("gift");
  }

  toJSON(): weft.Value {
    return weft.Value.object().set("items", this.items).set("gift", this.gift).set("tags", this.tags);
  }
}

export function order(n: u32): u32 {
  return weft.json<Order>(n, (ctx, order) => order.toJSON());
}

export function same(n: u32): u32 {
  return weft.json<weft.Value>(n, (ctx, v) => v);
}

export function numbers(n: u32): u32 {
  return weft.json<weft.Value>(n, (ctx, v) => {
    const nothing: Order | null = null;
    return weft.Value.list().push(v.number()).push(<u8>255).push(i64.MIN_VALUE).push(u64.MAX_VALUE).push(f64.NaN).push(nothing);
  });
}

// reserve goes on after what was refused, as if nothing had been.
export function reserve(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const stock = ctx.getJSON("stock").integer("left");
    ctx.set("stock", weft.Value.object().set("left", stock - 1));
    ctx.publish("stock.changed", weft.Value.of(stock - 1));
    ctx.delete("reserved");
    const price = ctx.callJSON("prices/get", weft.encode("{}"));
    ctx.detail("google.rpc.RetryInfo", weft.encode("soon"));
    if (stock <= 0) return ctx.fail<weft.Bytes>(weft.Code.FailedPrecondition, "sold out");
    return weft.encode(price);
  });
}

// either answers with what it has when a peer is away.
export function either(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const v = ctx.call("far/away", ctx.input);
    const failure = ctx.recover();
    if (!failure) return v;
    ctx.log(weft.Level.Warn, failure.message);
    ctx.set("seen", failure.code.toString());
    return weft.encode("nobody");
  });
}

// passes has the error of a call be its own, with its details.
export function passes(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const v = ctx.call("bank/Pay", "");
    const details = ctx.callDetails();
    for (let i = 0; i < details.length; i++) ctx.detail(details[i].type, details[i].value);
    const failure = ctx.recover();
    ctx.call("bank/Pay", "x");
    if (ctx.callDetails().length) return ctx.fail<weft.Bytes>(weft.Code.Internal, "details of a success");
    return failure ? ctx.fail<weft.Bytes>(failure.code, failure.message) : v;
  });
}

export function shout(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    ctx.setHeader("x-first", "1");
    ctx.sendHeaders();
    for (let m = ctx.recv(); m; m = ctx.recv()) {
      ctx.log(weft.Level.Debug, "got one");
      ctx.send(weft.decode(m).toUpperCase());
    }
    ctx.setTrailer("x-last", "a");
    ctx.setTrailer("X-Last", "b");
    return null;
  });
}

export function twice(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    ctx.send("one");
    ctx.send(ctx.input);
    return null;
  });
}

export function post(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const r = ctx.http(new weft.Request("PUT", "https://a.example", ctx.input));
    return r.body;
  });
}

// edge does what weft refuses, and goes on.
export function edge(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    const what = weft.decode(ctx.input), long = "k".repeat(1025), large = new Uint8Array((1 << 20) + 1);
    if (what == "get") ctx.get(long);
    else if (what == "set") ctx.set(long, "v");
    else if (what == "delete") ctx.delete(long);
    else if (what == "config") ctx.config(long);
    else if (what == "call") ctx.call(long, "");
    else if (what == "1 MiB") ctx.set("k", large.subarray(1));
    else if (what == "large") ctx.set("k", large);
    else if (what == "own event") ctx.publish("weft.run.ended", "{}");
    else if (what == "no type") ctx.publish("", "{}");
    else if (what == "large event") ctx.publish("a", large);
    else if (what == "header") ctx.setHeader("x", "v".repeat(8193));
    else if (what == "late header") {
      ctx.sendHeaders();
      ctx.setHeader("x", "v");
    } else if (what == "detail") ctx.detail("", large.subarray(0, 1));
    else if (what == "details") ctx.detail("a.B", large.subarray(0, 16 << 10));
    else if (what == "17 details") for (let i = 0; i < 17; i++) ctx.detail("a.B", ctx.input);
    ctx.recover();
    return null;
  });
}

export function buffer(n: u32): u32 {
  return weft.bytes(n, (ctx) => Uint8Array.wrap(ctx.input.buffer));
}

export function broken(n: u32): u32 {
  return weft.bytes(n, (ctx) => {
    ctx.set("k", "v");
    throw new Error("no way on");
  });
}
