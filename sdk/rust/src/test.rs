//! A host in memory, for tests of handlers without Wasm.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::http::{Base64, WireRequest, WireResponse};
use crate::json::{self, Json};
use crate::wire::{self, Message};
use crate::{Code, Context, Error, Level, Request, Response, Result};

/// Answers calls of peers.
pub type Peer = Box<dyn Fn(&str, &[u8]) -> Result>;

/// Answers plain HTTP.
pub type Web = Box<dyn Fn(Request) -> Result<Response>>;

// Bounds of docs/ABI.md, in bytes but for DETAILS_MAX.
const NAME_MAX: usize = 1 << 10;
const HEADER_MAX: usize = 8 << 10;
const VALUE_MAX: usize = 1 << 20;
const DETAILS_MAX: usize = 16;
const DETAILS_BYTES_MAX: usize = 16 << 10;

/// A host in memory: fill its fields, make calls, look at them. As in weft, a
/// call that fails leaves no write and no event, and names, values and details that
/// are too long, or not what they must be, are refused. Of other limits and of
/// grants there are none.
#[derive(Default)]
pub struct Host {
    pub state: BTreeMap<String, Vec<u8>>,
    pub config: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Of the next calls, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// None: no peer is there.
    pub peer: Option<Peer>,
    /// Type and value, of each error that peer returns.
    pub refusal: Vec<(String, Vec<u8>)>,
    /// None: nothing was granted.
    pub web: Option<Web>,
    /// What a call has left.
    pub timeout: Duration,
    /// Type and data, of all calls that succeeded.
    pub events: Vec<(String, Vec<u8>)>,
    /// Headers of the last answer; several values are joined by ", ".
    pub answer: BTreeMap<String, String>,
    pub trailers: BTreeMap<String, String>,
    /// Type and value, of the last error.
    pub details: Vec<(String, Vec<u8>)>,
    pub logs: Vec<(Level, String)>,
    messages: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    streams: bool,
    headed: bool,
    refused: bool,
    /// What has ended the call, whatever its handler returns.
    stopped: Option<Error>,
}

impl Host {
    /// A host that has nothing, and gives each call 30 seconds.
    pub fn new() -> Host {
        Host { timeout: Duration::from_secs(30), ..Host::default() }
    }

    /// Calls a handler of bytes.
    pub fn call(&mut self, handler: fn(&mut Context) -> Result, input: &[u8]) -> Result {
        self.messages = VecDeque::from([input.to_vec()]);
        self.streams = false;
        let output = self.run(input, handler)?;
        Ok(self.sent.pop().unwrap_or(output))
    }

    /// Calls a handler of JSON.
    pub fn json<In: Json, Out: Json>(&mut self, handler: fn(&mut Context, In) -> Result<Out>, input: &In) -> Result<Out> {
        let input = json::write(input);
        self.messages = VecDeque::from([input.clone()]);
        self.streams = false;
        let answer = self.run(&input, |ctx| crate::typed(ctx, handler))?;
        json::read(&answer).map_err(|e| Error::new(Code::Internal, format!("the answer: {e}")))
    }

    /// Calls a handler with a stream of messages. The first are those that it has
    /// sent, up to its error if there is one.
    pub fn stream(&mut self, handler: fn(&mut Context) -> Result, messages: &[&[u8]]) -> (Vec<Vec<u8>>, Result<()>) {
        self.messages = messages.iter().map(|m| m.to_vec()).collect();
        self.streams = true;
        let end = self.run(b"", handler).map(drop);
        (std::mem::take(&mut self.sent), end)
    }

    /// Calls a method of a protobuf service that has a message each way.
    pub fn unary<In: Message, Out: Message>(&mut self, method: impl FnOnce(&Context, In) -> Result<Out>, it: &In) -> Result<Out> {
        let input = wire::encode(it);
        self.messages = VecDeque::from([input.clone()]);
        self.streams = false;
        wire::decode(&self.run(&input, |ctx| wire::unary(ctx, method))?)
    }

    /// Calls one with a stream, as in
    /// `host.messages(|ctx| wire::bidi_stream(ctx, Orders::quote), &[request])`. The
    /// first are the messages that it has sent, up to its error if there is one.
    pub fn messages<In: Message, Out: Message>(&mut self, method: impl FnOnce(&mut Context) -> Result, messages: &[In]) -> (Vec<Out>, Result<()>) {
        self.messages = messages.iter().map(wire::encode).collect();
        self.streams = true;
        let end = self.run(b"", method).map(drop);
        let sent: Result<Vec<Out>> = std::mem::take(&mut self.sent).iter().map(|m| wire::decode(m)).collect();
        match sent {
            Ok(sent) => (sent, end),
            Err(e) => (Vec::new(), Err(e)),
        }
    }

    fn run(&mut self, input: &[u8], handler: impl FnOnce(&mut Context) -> Result) -> Result {
        let (state, events) = (self.state.clone(), self.events.len());
        self.answer.clear();
        self.trailers.clear();
        self.details.clear();
        self.sent.clear();
        self.headed = false;
        self.refused = false;
        self.stopped = None;
        let mut ctx = Context { input: input.to_vec(), host: Calls(RefCell::new(std::mem::take(self))) };
        let mut answer = handler(&mut ctx);
        *self = ctx.host.0.into_inner();
        if matches!(&answer, Ok(output) if !output.is_empty()) && (self.streams || !self.sent.is_empty()) {
            answer = Err(Error::new(Code::Internal, "the handler sends its messages, and wrote output besides"));
        }
        if let Some(why) = self.stopped.take() {
            answer = Err(why);
        }
        match &answer {
            Ok(_) => self.details.clear(),
            Err(_) => {
                self.state = state;
                self.events.truncate(events);
            }
        }
        answer
    }
}

impl Host {
    /// Ends the call.
    fn stop<T>(&mut self, code: Code, why: &str) -> Result<T> {
        let error = Error::new(code, why);
        self.stopped.get_or_insert(error.clone());
        Err(error)
    }

    /// Ends the call for a name or value that is too long.
    fn check(&mut self, name: &str, max: usize) -> Result<()> {
        match name.len() > max {
            true => self.stop(Code::ResourceExhausted, &format!("the handler passed a name or value of {} bytes, the limit is {max}", name.len())),
            false => Ok(()),
        }
    }
}

/// What a Context calls.
pub(crate) struct Calls(RefCell<Host>);

impl Calls {
    pub fn header_get(&self, name: &str) -> Result {
        self.0.borrow_mut().check(name, NAME_MAX)?;
        found(self.0.borrow().headers.get(&name.to_lowercase()))
    }

    pub fn header_set(&self, name: &str, value: &str) {
        let mut h = self.0.borrow_mut();
        if h.headed {
            let _ = h.stop::<()>(Code::FailedPrecondition, "set_header was called when the headers had been sent");
        } else if h.check(name, NAME_MAX).and_then(|_| h.check(value, HEADER_MAX)).is_ok() {
            add(&mut h.answer, name, value);
        }
    }

    pub fn trailer_set(&self, name: &str, value: &str) {
        let mut h = self.0.borrow_mut();
        if h.check(name, NAME_MAX).and_then(|_| h.check(value, HEADER_MAX)).is_ok() {
            add(&mut h.trailers, name, value);
        }
    }

    pub fn recv(&self) -> Result {
        self.0.borrow_mut().messages.pop_front().ok_or_else(|| Error::new(Code::OutOfRange, "there is no further message"))
    }

    pub fn send(&self, message: &[u8]) -> Result<()> {
        let mut h = self.0.borrow_mut();
        if !h.streams && !h.sent.is_empty() {
            return Err(Error::new(Code::FailedPrecondition, "a call without a stream has one answer, and it has been sent"));
        }
        h.headed = true;
        h.sent.push(message.into());
        Ok(())
    }

    pub fn send_headers(&self) {
        self.0.borrow_mut().headed = true;
    }

    pub fn error_detail(&self, kind: &str, value: &[u8]) {
        let mut h = self.0.borrow_mut();
        let all: usize = h.details.iter().map(|(kind, value)| kind.len() + value.len()).sum();
        if h.check(kind, NAME_MAX).is_err() {
            return;
        }
        if kind.is_empty() {
            let _ = h.stop::<()>(Code::Internal, "the handler passed a detail of an error without its type");
        } else if h.details.len() == DETAILS_MAX || all + kind.len() + value.len() > DETAILS_BYTES_MAX {
            let _ = h.stop::<()>(Code::ResourceExhausted, "the handler gave too many details of its error");
        } else {
            h.details.push((kind.into(), value.into()));
        }
    }

    pub fn state_get(&self, key: &str) -> Result {
        self.0.borrow_mut().check(key, NAME_MAX)?;
        found(self.0.borrow().state.get(key))
    }

    pub fn state_set(&self, key: &str, value: &[u8]) -> Result<()> {
        let mut h = self.0.borrow_mut();
        h.check(key, NAME_MAX)?;
        if value.len() > VALUE_MAX {
            return Err(Error::new(Code::ResourceExhausted, format!("value of {key:?} has {} bytes, the limit is {VALUE_MAX}", value.len())));
        }
        h.state.insert(key.into(), value.into());
        Ok(())
    }

    pub fn state_delete(&self, key: &str) -> Result<()> {
        let mut h = self.0.borrow_mut();
        h.state.remove(key);
        h.check(key, NAME_MAX)
    }

    pub fn publish(&self, kind: &str, data: &[u8]) -> Result<()> {
        let mut h = self.0.borrow_mut();
        h.check(kind, NAME_MAX)?;
        if kind.is_empty() {
            return Err(Error::new(Code::InvalidArgument, "an event must have a type"));
        }
        if kind.starts_with("weft.") {
            return Err(Error::new(Code::InvalidArgument, format!("event type {kind:?} is one of weft itself")));
        }
        if data.len() > VALUE_MAX {
            return Err(Error::new(Code::ResourceExhausted, format!("the data of an event {kind:?} has {} bytes, the limit is {VALUE_MAX}", data.len())));
        }
        h.events.push((kind.into(), data.into()));
        Ok(())
    }

    pub fn call(&self, procedure: &str, request: &[u8]) -> Result {
        self.0.borrow_mut().check(procedure, NAME_MAX)?;
        self.0.borrow_mut().refused = false;
        let answer = match &self.0.borrow().peer {
            Some(peer) => peer(procedure, request),
            None => return Err(Error::new(Code::NotFound, "no such peer")),
        };
        self.0.borrow_mut().refused = answer.is_err();
        answer
    }

    pub fn call_detail(&self, n: u32) -> Result {
        let h = self.0.borrow();
        match h.refusal.get(n as usize) {
            Some((kind, value)) if h.refused => Ok([kind.as_bytes(), b"\0", value].concat()),
            _ => Err(Error::new(Code::NotFound, "")),
        }
    }

    pub fn http(&self, request: &[u8]) -> Result {
        let h = self.0.borrow();
        let web = h.web.as_ref().ok_or_else(|| Error::new(Code::PermissionDenied, "not granted"))?;
        let r: WireRequest = json::read(request).map_err(|e| Error::new(Code::InvalidArgument, format!("the request: {e}")))?;
        let r = web(Request { method: r.method, url: r.url, headers: r.headers, body: r.body.0 })?;
        Ok(json::write(&WireResponse { status: r.status, headers: r.headers, body: Base64(r.body) }))
    }

    pub fn config_get(&self, key: &str) -> Result {
        self.0.borrow_mut().check(key, NAME_MAX)?;
        found(self.0.borrow().config.get(key))
    }

    pub fn secret_get(&self, name: &str) -> Result {
        self.0.borrow_mut().check(name, NAME_MAX)?;
        found(self.0.borrow().secrets.get(name))
    }

    pub fn deadline(&self) -> i64 {
        self.0.borrow().timeout.as_millis() as i64
    }

    pub fn log(&self, level: Level, text: &str) {
        self.0.borrow_mut().logs.push((level, text.into()));
    }
}

fn found(v: Option<&(impl AsRef<[u8]> + ?Sized)>) -> Result {
    v.map(|v| v.as_ref().to_vec()).ok_or_else(|| Error::new(Code::NotFound, ""))
}

fn add(headers: &mut BTreeMap<String, String>, name: &str, value: &str) {
    let values = headers.entry(name.to_lowercase()).or_default();
    if !values.is_empty() {
        values.push_str(", ");
    }
    values.push_str(value);
}
