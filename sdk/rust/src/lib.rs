//! Handlers for weft in Rust.
//!
//! ```
//! weft::record! {
//!     struct Greeting { name: String }
//! }
//! weft::json_handler!("greet", greet);
//!
//! fn greet(_: &mut weft::Context, mut it: Greeting) -> weft::Result<Greeting> {
//!     it.name = format!("hello {}", it.name);
//!     Ok(it)
//! }
//! ```
//!
//! built as a cdylib with
//!
//! ```text
//! cargo build --release --target wasm32-unknown-unknown
//! ```
//!
//! A handler is a transaction: what it writes and publishes is kept when it
//! returns Ok and forgotten otherwise. A panic traps, which is an internal error.
//! Outside Wasm nothing is exported, and test::Host calls handlers in `cargo test`.

mod http;
pub mod json;
#[cfg(not(target_arch = "wasm32"))]
pub mod test;
#[cfg(target_arch = "wasm32")]
mod wasm;
pub mod wire;

#[cfg(not(target_arch = "wasm32"))]
use test::Calls;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use wasm::serve;
#[cfg(target_arch = "wasm32")]
use wasm::Calls;

pub use http::{Request, Response};
pub use json::{Json, Value};

use std::fmt;

/// The codes of Connect, <https://connectrpc.com/docs/protocol#error-codes>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    Canceled = 1,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl From<u32> for Code {
    /// The code of a number of docs/ABI.md; any other is Unknown.
    fn from(number: u32) -> Code {
        use Code::*;
        let all = [
            Canceled, Unknown, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists, PermissionDenied, ResourceExhausted,
            FailedPrecondition, Aborted, OutOfRange, Unimplemented, Internal, Unavailable, DataLoss, Unauthenticated,
        ];
        all.get((number as usize).wrapping_sub(1)).copied().unwrap_or(Unknown)
    }
}

/// An error with a code: which kind of failure it was, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }

    /// Says what the error of a host call is about.
    fn about(self, name: &str) -> Error {
        match self.message.as_str() {
            "" => Error::new(self.code, format!("{name}: {:?}", self.code)),
            text => Error::new(self.code, format!("{name}: {text}")),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What a handler returns: its output, or why there is none.
pub type Result<T = Vec<u8>> = std::result::Result<T, Error>;

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// One call of a handler, and everything it may reach.
pub struct Context {
    input: Vec<u8>,
    host: Calls,
}

impl Context {
    /// What the caller sent.
    #[inline]
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// What the caller sent, for keeps: afterwards input is empty.
    #[inline]
    pub fn take_input(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// A header of the call; several values are joined by ", ". The name :names
    /// lists all, :procedure is what was called.
    pub fn header(&self, name: &str) -> Option<String> {
        self.host.header_get(name).ok().and_then(|v| String::from_utf8(v).ok())
    }

    /// Adds a value to a header of the answer.
    pub fn set_header(&self, name: &str, value: &str) {
        self.host.header_set(name, value)
    }

    /// Adds a value to a trailer of the answer.
    pub fn set_trailer(&self, name: &str, value: &str) {
        self.host.trailer_set(name, value)
    }

    /// Waits for the next message of the call; None after the last. Of a call
    /// without a stream the input is the only message.
    pub fn recv(&self) -> Result<Option<Vec<u8>>> {
        match self.host.recv() {
            Err(e) if e.code == Code::OutOfRange => Ok(None),
            other => other.map(Some).map_err(|e| e.about("recv")),
        }
    }

    /// Sends a message, and waits until there is room for it. A call without a
    /// stream has one. Whoever sends returns no output besides.
    pub fn send(&self, message: &[u8]) -> Result<()> {
        self.host.send(message).map_err(|e| e.about("send"))
    }

    /// Sends the headers of the answer, which the first send does too. None can be
    /// set afterwards.
    pub fn send_headers(&self) {
        self.host.send_headers()
    }

    /// Adds a protobuf message to the error that the handler is going to return, by
    /// its full name such as google.rpc.RetryInfo.
    pub fn add_detail(&self, kind: &str, value: &[u8]) {
        self.host.error_detail(kind, value)
    }

    /// Is add_detail of a message of generated code.
    pub fn add_message<M: wire::Message>(&self, detail: &M) {
        self.add_detail(M::NAME, &wire::encode(detail))
    }

    /// Reads a key of the module's state; None when it is not there.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        optional(self.host.state_get(key), key)
    }

    /// Reads a key of the module's state as JSON.
    pub fn get_json<T: Json>(&self, key: &str) -> Result<Option<T>> {
        match self.get(key)? {
            Some(v) => json::read(&v).map(Some).map_err(|e| Error::new(Code::DataLoss, format!("{key}: {e}"))),
            None => Ok(None),
        }
    }

    /// Writes a key of the module's state.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        self.host.state_set(key, value).map_err(|e| e.about(key))
    }

    pub fn set_json<T: Json>(&self, key: &str, value: &T) -> Result<()> {
        self.set(key, &json::write(value))
    }

    /// Removes a key of the module's state; one that is not there is fine.
    pub fn delete(&self, key: &str) -> Result<()> {
        self.host.state_delete(key).map_err(|e| e.about(key))
    }

    /// Sends an event with JSON data, once the handler has returned Ok.
    pub fn publish(&self, event_type: &str, data: &[u8]) -> Result<()> {
        self.host.publish(event_type, data).map_err(|e| e.about(event_type))
    }

    pub fn publish_json<T: Json>(&self, event_type: &str, data: &T) -> Result<()> {
        self.publish(event_type, &json::write(data))
    }

    /// Asks a peer, as in "payments/payments.v1.Payments/Charge".
    pub fn call(&self, procedure: &str, request: &[u8]) -> Result {
        self.host.call(procedure, request).map_err(|e| e.about(procedure))
    }

    /// The details of the error that the last call, or call_json, has returned: types
    /// and values.
    pub fn call_details(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        while let Ok(mut kind) = self.host.call_detail(all.len() as u32) {
            let end = kind.iter().position(|b| *b == 0).unwrap_or(kind.len());
            let value = kind.split_off(end).into_iter().skip(1).collect();
            all.push((String::from_utf8_lossy(&kind).into_owned(), value));
        }
        all
    }

    /// Asks a peer in JSON.
    pub fn call_json<In: Json, Out: Json>(&self, procedure: &str, request: &In) -> Result<Out> {
        let answer = self.call(procedure, &json::write(request))?;
        json::read(&answer).map_err(|e| Error::new(Code::Internal, format!("the answer of {procedure}: {e}")))
    }

    /// Sends a plain HTTP request.
    pub fn http(&self, r: Request) -> Result<Response> {
        let url = r.url.clone();
        let wire = http::WireRequest { method: r.method, url: r.url, headers: r.headers, body: http::Base64(r.body) };
        let answer = self.host.http(&json::write(&wire)).map_err(|e| e.about(&url))?;
        match json::read::<http::WireResponse>(&answer) {
            Ok(a) => Ok(Response { status: a.status, headers: a.headers, body: a.body.0 }),
            Err(e) => Err(Error::new(Code::Internal, format!("the answer of {url}: {e}"))),
        }
    }

    /// Reads a configuration value of the module; None when there is none.
    pub fn config(&self, key: &str) -> Result<Option<String>> {
        let v = optional(self.host.config_get(key), key)?;
        Ok(v.map(|v| String::from_utf8_lossy(&v).into_owned()))
    }

    /// Reads a secret that the module was granted. Do not log it.
    pub fn secret(&self, name: &str) -> Result {
        self.host.secret_get(name).map_err(|e| e.about(name))
    }

    /// The time left for this call; of a stream, to its next message.
    pub fn remaining(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.host.deadline().max(0) as u64)
    }

    /// Writes one line into the host's log.
    pub fn log(&self, level: Level, text: &str) {
        self.host.log(level, text)
    }
}

fn optional(v: Result, name: &str) -> Result<Option<Vec<u8>>> {
    match v {
        Err(e) if e.code == Code::NotFound => Ok(None),
        other => other.map(Some).map_err(|e| e.about(name)),
    }
}

/// Runs a handler of JSON. No input at all is an object without fields.
#[doc(hidden)]
pub fn typed<In: Json, Out: Json>(ctx: &mut Context, handler: fn(&mut Context, In) -> Result<Out>) -> Result {
    let input = if ctx.input.is_empty() { b"{}" } else { ctx.input.as_slice() };
    let input = json::read(input).map_err(|e| Error::new(Code::InvalidArgument, format!("input: {e}")))?;
    handler(ctx, input).map(|answer| json::write(&answer))
}

/// Exports a handler of bytes, `fn(&mut Context) -> Result`, under a name.
#[macro_export]
macro_rules! handler {
    ($name:literal, $handler:path) => {
        $crate::export!($name, $handler);
    };
}

/// Exports a handler of JSON, `fn(&mut Context, In) -> Result<Out>`, under a name.
/// Input that does not fit In is answered with InvalidArgument.
#[macro_export]
macro_rules! json_handler {
    ($name:literal, $handler:path) => {
        $crate::export!($name, |ctx| $crate::typed(ctx, $handler));
    };
}

/// Outside Wasm a name such as log would be that of a function of C.
#[doc(hidden)]
#[macro_export]
macro_rules! export {
    ($name:literal, $run:expr) => {
        const _: () = {
            #[cfg(target_arch = "wasm32")]
            #[export_name = $name]
            extern "C" fn export(input_len: u32) -> u32 {
                $crate::serve(input_len, $run)
            }

            #[cfg(not(target_arch = "wasm32"))]
            #[used] // by tests, or not
            static EXPORT: fn(&mut $crate::Context) -> $crate::Result = $run;
        };
    };
}
