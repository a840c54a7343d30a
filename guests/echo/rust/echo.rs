//! echo in Rust: what each handler does is in ../README.md.

use std::cell::Cell;

use weft::{Code, Context, Error, Level, Request, Result};

weft::handler!("noop", noop);
weft::handler!("echo", echo);
weft::handler!("loop", rounds);
weft::json_handler!("json", greet);
weft::handler!("fail", fail);
weft::handler!("headers", headers);
weft::handler!("state", state);
weft::handler!("publish", publish);
weft::handler!("call", call);
weft::handler!("http", http);
weft::handler!("config", config);
weft::handler!("secret", secret);
weft::handler!("logs", logs);
weft::handler!("deadline", deadline);
weft::handler!("large", large);
weft::handler!("allocate", allocate);
weft::handler!("stream", stream);
weft::handler!("detail", detail);

fn noop(_: &mut Context) -> Result {
    Ok(Vec::new())
}

fn echo(ctx: &mut Context) -> Result {
    Ok(ctx.take_input())
}

fn text(ctx: &Context) -> Result<&str> {
    std::str::from_utf8(ctx.input()).map_err(|_| Error::new(Code::InvalidArgument, "the input is no text"))
}

fn number(text: &str) -> Result<u32> {
    text.parse().map_err(|_| Error::new(Code::InvalidArgument, "the input is no number"))
}

fn rounds(ctx: &mut Context) -> Result {
    let mut h: u32 = 2166136261;
    for i in 0..number(text(ctx)?)? {
        h = (h ^ (i & 255)).wrapping_mul(16777619);
    }
    Ok(h.to_string().into())
}

weft::record! {
    struct Question { name: String, n: i64 }
    struct Greeting { greeting: String, next: i64 }
}

fn greet(_: &mut Context, it: Question) -> Result<Greeting> {
    match it.name.is_empty() {
        true => Err(Error::new(Code::InvalidArgument, "name is missing")),
        false => Ok(Greeting { greeting: format!("hello {}", it.name), next: it.n + 1 }),
    }
}

fn fail(ctx: &mut Context) -> Result {
    let (code, message) = text(ctx)?.split_once(' ').unwrap_or_default();
    Err(Error::new(number(code)?.into(), message))
}

fn headers(ctx: &mut Context) -> Result {
    let v = ctx.header("x-name").unwrap_or_default();
    ctx.set_header("x-answer", &format!("hello {v}"));
    Ok(v.into())
}

fn state(ctx: &mut Context) -> Result {
    let mut words = text(ctx)?.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    match (word(), word()) {
        ("set", key) => ctx.set(key, word().as_bytes())?,
        ("delete", key) => ctx.delete(key)?,
        (_, key) => return ctx.get(key)?.ok_or_else(|| Error::new(Code::NotFound, "state")),
    }
    Ok(Vec::new())
}

fn publish(ctx: &mut Context) -> Result {
    ctx.publish("echo.published", ctx.input()).map(|_| Vec::new())
}

fn call(ctx: &mut Context) -> Result {
    let answer = ctx.call("peer/echo", ctx.input());
    ctx.call_details().iter().for_each(|(kind, value)| ctx.add_detail(kind, value));
    answer
}

fn http(ctx: &mut Context) -> Result {
    let r = ctx.http(Request::new("POST", text(ctx)?).header("x-a", "b").body(b"ping\x00\xff"))?;
    let from = r.headers.get("x-from").map_or("", String::as_str);
    Ok([format!("{} {from} ", r.status).as_bytes(), r.body.as_slice()].concat())
}

fn config(ctx: &mut Context) -> Result {
    ctx.config(text(ctx)?)?.map(String::into_bytes).ok_or_else(|| Error::new(Code::NotFound, "config"))
}

fn secret(ctx: &mut Context) -> Result {
    ctx.secret(text(ctx)?)
}

fn logs(ctx: &mut Context) -> Result {
    for level in [Level::Debug, Level::Info, Level::Warn, Level::Error] {
        ctx.log(level, text(ctx)?);
    }
    Ok(Vec::new())
}

fn deadline(ctx: &mut Context) -> Result {
    Ok(ctx.remaining().as_millis().to_string().into())
}

fn large(ctx: &mut Context) -> Result {
    Ok((0..number(text(ctx)?)?).map(|i| b'a' + (i % 26) as u8).collect())
}

thread_local! {
    static CALLS: Cell<u32> = Cell::new(0);
    static KEPT: Cell<Vec<u8>> = Cell::default(); // so that the allocation is real
}

fn allocate(_: &mut Context) -> Result {
    let calls = CALLS.with(|c| c.replace(c.get() + 1) + 1);
    KEPT.with(|k| k.set(vec![calls as u8; 64 << 10]));
    Ok(calls.to_string().into())
}

fn stream(ctx: &mut Context) -> Result {
    ctx.set_header("x-kind", "echo");
    ctx.send_headers();
    let mut n = 0;
    while let Some(message) = ctx.recv()? {
        ctx.send(&message)?;
        n += 1;
    }
    ctx.set_trailer("x-messages", &n.to_string());
    Ok(Vec::new())
}

fn detail(ctx: &mut Context) -> Result {
    ctx.add_detail("google.rpc.ErrorInfo", ctx.input());
    ctx.add_detail("echo.v1.Empty", b"");
    Err(Error::new(Code::FailedPrecondition, "see the details"))
}
