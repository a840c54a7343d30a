//! Handlers against the host in memory.

use weft::test::Host;
use weft::{Code, Context, Error, Level, Request, Response, Result};

weft::record! {
    #[derive(Clone, Debug, PartialEq)]
    struct Greeting { name: String, times: u32 }
}

weft::json_handler!("greet", greet);
weft::handler!("echo", echo);

/// Counts in state and publishes, and fails for the name "nobody" after both.
fn greet(ctx: &mut Context, mut it: Greeting) -> Result<Greeting> {
    it.times = ctx.get_json::<u32>(&it.name)?.unwrap_or(0) + 1;
    ctx.set_json(&it.name, &it.times)?;
    ctx.publish_json("greeted", &it)?;
    ctx.set_header("X-Times", &ctx.header("x-asked").unwrap_or_default());
    ctx.log(Level::Warn, &it.name);
    match it.name.as_str() {
        "nobody" => Err(Error::new(Code::FailedPrecondition, "nobody is there")),
        _ => Ok(it),
    }
}

/// Sends each message back, and fails at the message "stop".
fn echo(ctx: &mut Context) -> Result {
    ctx.set_header("X-Kind", "echo");
    ctx.set_trailer("x-end", "a");
    ctx.set_trailer("X-End", "b");
    while let Some(m) = ctx.recv()? {
        if m == b"stop" {
            ctx.add_detail("google.rpc.ErrorInfo", &[1]);
            return Err(Error::new(Code::Aborted, "stopped"));
        }
        ctx.send(&m)?;
    }
    Ok(Vec::new())
}

fn named(name: &str) -> Greeting {
    Greeting { name: name.into(), times: 0 }
}

#[test]
fn a_handler_that_answers_keeps_its_writes_and_events() {
    let mut host = Host::new();
    host.headers.insert("x-asked".into(), "twice".into());
    assert_eq!(host.json(greet, &named("ada")).unwrap().times, 1);
    assert_eq!(host.json(greet, &named("ada")).unwrap().times, 2);
    assert_eq!(host.state["ada"], b"2");
    assert_eq!(host.events[1], ("greeted".to_string(), br#"{"name":"ada","times":2}"#.to_vec()));
    assert_eq!(host.answer["x-times"], "twice");
    assert_eq!(host.logs, [(Level::Warn, "ada".to_string()), (Level::Warn, "ada".to_string())]);
}

#[test]
fn a_handler_that_fails_leaves_nothing() {
    let mut host = Host::new();
    assert_eq!(host.json(greet, &named("nobody")), Err(Error::new(Code::FailedPrecondition, "nobody is there")));
    assert!(host.state.is_empty() && host.events.is_empty());
}

#[test]
fn what_does_not_fit_is_said() {
    weft::record! { struct Other { name: u8 } }
    fn other(_: &mut Context, it: Other) -> Result<Other> {
        Ok(it)
    }
    let handler = |ctx: &mut Context| weft::typed(ctx, other);
    let mut host = Host::new();
    assert_eq!(host.call(handler, br#"{"name":"x"}"#), Err(Error::new(Code::InvalidArgument, "input: name is a string, want an integer")));
    assert_eq!(host.call(handler, b""), Ok(br#"{"name":0}"#.to_vec()));
    host.state.insert("k".into(), b"x".to_vec());
    let read = |ctx: &mut Context| ctx.get_json::<u8>("k").map(|_| Vec::new());
    assert_eq!(host.call(read, b""), Err(Error::new(Code::DataLoss, "k: no JSON at byte 0")));
}

#[test]
fn a_stream_is_received_and_sent() {
    let mut host = Host::new();
    let (sent, end) = host.stream(echo, &[b"a", b"", b"c"]);
    assert_eq!((sent, end), (vec![b"a".to_vec(), vec![], b"c".to_vec()], Ok(())));
    assert_eq!((host.answer["x-kind"].as_str(), host.trailers["x-end"].as_str()), ("echo", "a, b"));
    let (sent, end) = host.stream(echo, &[b"a", b"stop", b"c"]);
    assert_eq!((sent, end), (vec![b"a".to_vec()], Err(Error::new(Code::Aborted, "stopped"))));
    assert_eq!(host.details, [("google.rpc.ErrorInfo".to_string(), vec![1])]);
    assert_eq!(host.call(echo, b"plain"), Ok(b"plain".to_vec()));
    assert!(host.details.is_empty());
}

#[test]
fn a_call_without_a_stream_has_one_answer() {
    let twice = |ctx: &mut Context| ctx.send(b"").and(ctx.send(b"")).map(|_| Vec::new());
    assert_eq!(Host::new().call(twice, b"").unwrap_err().code, Code::FailedPrecondition);
    let besides = |ctx: &mut Context| ctx.send(b"").map(|_| b"x".to_vec());
    assert_eq!(Host::new().call(besides, b"").unwrap_err().code, Code::Internal);
}

/// Whatever the handler makes of it.
#[test]
fn what_weft_refuses_is_refused() {
    fn edge(ctx: &mut Context) -> Result {
        let (long, large) = ("k".repeat(1025), vec![0; (1 << 20) + 1]);
        match ctx.input() {
            b"get" => drop(ctx.get(&long)),
            b"set" => drop(ctx.set(&long, b"")),
            b"delete" => drop(ctx.delete(&long)),
            b"config" => drop(ctx.config(&long)),
            b"call" => drop(ctx.call(&long, b"")),
            b"1 MiB" => ctx.set("k", &large[1..])?,
            b"large" => ctx.set("k", &large)?,
            b"without" => drop(ctx.set("k", &large)),
            b"own event" => ctx.publish("weft.run.ended", b"")?,
            b"no type" => ctx.publish("", b"")?,
            b"large event" => ctx.publish("a", &large)?,
            b"header" => ctx.set_header("x", &"v".repeat(8193)),
            b"late header" => {
                ctx.send_headers();
                ctx.set_header("x", "v");
            }
            b"detail" => ctx.add_detail("", b""),
            b"details" => ctx.add_detail("a.B", &large[..16 << 10]),
            _ => (0..17).for_each(|_| ctx.add_detail("a.B", b"")),
        }
        ctx.publish("after", b"")?;
        Ok(Vec::new())
    }
    use Code::*;
    for (what, want) in [
        ("get", Some(ResourceExhausted)), ("set", Some(ResourceExhausted)), ("delete", Some(ResourceExhausted)), ("config", Some(ResourceExhausted)),
        ("call", Some(ResourceExhausted)), ("1 MiB", None), ("large", Some(ResourceExhausted)), ("without", None), ("own event", Some(InvalidArgument)),
        ("no type", Some(InvalidArgument)), ("large event", Some(ResourceExhausted)), ("header", Some(ResourceExhausted)),
        ("late header", Some(FailedPrecondition)), ("detail", Some(Internal)), ("details", Some(ResourceExhausted)), ("17 details", Some(ResourceExhausted)),
    ] {
        let mut host = Host::new();
        assert_eq!(host.call(edge, what.as_bytes()).err().map(|e| e.code), want, "{what}");
        assert_eq!(host.events.is_empty(), want.is_some(), "{what}");
    }
}

#[test]
fn the_error_of_a_call_has_details() {
    let passes = |ctx: &mut Context| {
        let answer = ctx.call("bank/Pay", b"");
        ctx.call_details().iter().for_each(|(kind, value)| ctx.add_detail(kind, value));
        assert!(ctx.call("bank/Pay", b"x").is_ok() && ctx.call_details().is_empty());
        answer
    };
    let mut host = Host::new();
    host.peer = Some(Box::new(|_, request| if request.is_empty() { Err(Error::new(Code::Aborted, "not now")) } else { Ok(vec![]) }));
    host.refusal = vec![("a.B".into(), vec![0, 255]), ("a.C".into(), vec![])];
    assert_eq!(host.call(passes, b"").unwrap_err().code, Code::Aborted);
    assert_eq!(host.details, host.refusal);
}

#[test]
fn the_outside_is_what_the_test_says() {
    let ask = |ctx: &mut Context| {
        let price: u32 = ctx.call_json("prices/Price", &ctx.config("item")?)?;
        let r = ctx.http(Request::new("POST", "https://shop.example").header("x-price", &price.to_string()).body(&ctx.secret("token")?))?;
        ctx.delete("k")?;
        Ok(format!("{} {} {:?}", r.status, r.headers["x-from"], r.body).into_bytes())
    };
    let mut host = Host::new();
    assert_eq!(host.call(ask, b""), Err(Error::new(Code::NotFound, "prices/Price: no such peer")));
    host.peer = Some(Box::new(|procedure, request| Ok(vec![b'7'; procedure.len() - 9 - usize::from(request != b"\"tea\"")])));
    assert_eq!(host.call(ask, b"").unwrap_err().message, "token: NotFound");
    host.config.insert("item".into(), "tea".into());
    host.secrets.insert("token".into(), vec![0, 255]);
    assert_eq!(host.call(ask, b""), Err(Error::new(Code::PermissionDenied, "https://shop.example: not granted")));
    host.web = Some(Box::new(|r| Ok(Response { status: 203, headers: r.headers.into_iter().map(|(_, v)| ("x-from".into(), v)).collect(), body: r.body })));
    host.state.insert("k".into(), vec![]);
    assert_eq!(host.call(ask, b""), Ok(b"203 777 [0, 255]".to_vec()));
    assert!(host.state.is_empty());
    assert_eq!(host.call(|ctx| Ok(ctx.remaining().as_millis().to_string().into_bytes()), b""), Ok(b"30000".to_vec()));
}
