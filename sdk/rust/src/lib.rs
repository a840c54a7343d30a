//! Handlers for weft in Rust.
//!
//! ```ignore
//! weft::handler!("greet", greet);
//!
//! fn greet(ctx: &mut weft::Context) -> weft::Result {
//!     let times = ctx.get("times")?.unwrap_or_default().len() + 1;
//!     ctx.set("times", &vec![b'.'; times])?;
//!     Ok(format!("{{\"times\":{times}}}").into_bytes())
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

#[cfg(not(target_arch = "wasm32"))]
compile_error!("a handler runs in weft only: build with --target wasm32-unknown-unknown");

mod abi {
    // Pointers and lengths; an i64 is a length or minus a code, see docs/ABI.md.
    #[link(wasm_import_module = "weft/v1")]
    extern "C" {
        pub fn input(dst: *mut u8, cap: u32, offset: u32) -> u32;
        pub fn output(src: *const u8, len: u32);
        pub fn result(dst: *mut u8, cap: u32, offset: u32) -> u32;
        pub fn header_get(name: *const u8, name_len: u32, dst: *mut u8, cap: u32) -> i64;
        pub fn header_set(name: *const u8, name_len: u32, value: *const u8, len: u32);
        pub fn state_get(key: *const u8, key_len: u32, dst: *mut u8, cap: u32) -> i64;
        pub fn state_set(key: *const u8, key_len: u32, src: *const u8, len: u32) -> u32;
        pub fn state_delete(key: *const u8, key_len: u32) -> u32;
        pub fn publish(kind: *const u8, kind_len: u32, src: *const u8, len: u32) -> u32;
        pub fn call(procedure: *const u8, procedure_len: u32, src: *const u8, len: u32, dst: *mut u8, cap: u32) -> i64;
        pub fn http(src: *const u8, len: u32, dst: *mut u8, cap: u32) -> i64;
        pub fn config_get(key: *const u8, key_len: u32, dst: *mut u8, cap: u32) -> i64;
        pub fn secret_get(name: *const u8, name_len: u32, dst: *mut u8, cap: u32) -> i64;
        pub fn recv(dst: *mut u8, cap: u32) -> i64;
        pub fn send(src: *const u8, len: u32) -> u32;
        pub fn send_headers();
        pub fn trailer_set(name: *const u8, name_len: u32, value: *const u8, len: u32);
        pub fn error_detail(kind: *const u8, kind_len: u32, src: *const u8, len: u32);
        pub fn deadline() -> i64;
        pub fn log(level: u32, text: *const u8, len: u32);
    }
}

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

impl Code {
    fn of(number: u32) -> Code {
        use Code::*;
        let all = [
            Canceled, Unknown, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists, PermissionDenied, ResourceExhausted,
            FailedPrecondition, Aborted, OutOfRange, Unimplemented, Internal, Unavailable, DataLoss, Unauthenticated,
        ];
        all.get((number as usize).wrapping_sub(1)).copied().unwrap_or(Unknown)
    }
}

/// An error with a code: which kind of failure it was, and its text.
#[derive(Clone, Debug)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }
}

/// What a handler returns: its output, or why there is none.
pub type Result = std::result::Result<Vec<u8>, Error>;

/// How much a log line matters.
#[derive(Clone, Copy, Debug)]
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
}

impl Context {
    /// What the caller sent.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// A header of the call, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<String> {
        let v = fetch(|dst, cap| unsafe { abi::header_get(name.as_ptr(), name.len() as u32, dst, cap) });
        v.ok().and_then(|v| String::from_utf8(v).ok())
    }

    /// Waits for the next message of the call; None after the last. Of a call
    /// without a stream the input is the only message.
    pub fn recv(&mut self) -> std::result::Result<Option<Vec<u8>>, Error> {
        match fetch(|dst, cap| unsafe { abi::recv(dst, cap) }) {
            Ok(v) => Ok(Some(v)),
            Err(Code::OutOfRange) => Ok(None),
            Err(code) => Err(about(code, "recv")),
        }
    }

    /// Sends a message, and waits until there is room for it. A call without a
    /// stream has one. Whoever sends returns no output besides.
    pub fn send(&mut self, message: &[u8]) -> std::result::Result<(), Error> {
        status(unsafe { abi::send(message.as_ptr(), message.len() as u32) }, "send")
    }

    /// Sends the headers of the answer, which the first send does too. None can be
    /// set afterwards.
    pub fn send_headers(&mut self) {
        unsafe { abi::send_headers() }
    }

    /// Adds a value to a trailer of the answer.
    pub fn set_trailer(&mut self, name: &str, value: &str) {
        unsafe { abi::trailer_set(name.as_ptr(), name.len() as u32, value.as_ptr(), value.len() as u32) }
    }

    /// Adds a protobuf message to the error that the handler is going to return, by
    /// its full name such as google.rpc.RetryInfo.
    pub fn add_detail(&mut self, kind: &str, value: &[u8]) {
        unsafe { abi::error_detail(kind.as_ptr(), kind.len() as u32, value.as_ptr(), value.len() as u32) }
    }

    /// Adds a value to a header of the answer.
    pub fn set_header(&mut self, name: &str, value: &str) {
        unsafe { abi::header_set(name.as_ptr(), name.len() as u32, value.as_ptr(), value.len() as u32) }
    }

    /// Reads a key of the module's state; None when it is not there.
    pub fn get(&self, key: &str) -> std::result::Result<Option<Vec<u8>>, Error> {
        optional(fetch(|dst, cap| unsafe { abi::state_get(key.as_ptr(), key.len() as u32, dst, cap) }), key)
    }

    /// Writes a key of the module's state.
    pub fn set(&mut self, key: &str, value: &[u8]) -> std::result::Result<(), Error> {
        status(unsafe { abi::state_set(key.as_ptr(), key.len() as u32, value.as_ptr(), value.len() as u32) }, key)
    }

    /// Removes a key of the module's state; one that is not there is fine.
    pub fn delete(&mut self, key: &str) -> std::result::Result<(), Error> {
        status(unsafe { abi::state_delete(key.as_ptr(), key.len() as u32) }, key)
    }

    /// Sends an event with JSON data, once the handler has returned Ok.
    pub fn publish(&mut self, event_type: &str, data: &[u8]) -> std::result::Result<(), Error> {
        status(unsafe { abi::publish(event_type.as_ptr(), event_type.len() as u32, data.as_ptr(), data.len() as u32) }, event_type)
    }

    /// Asks a peer, as in "payments/payments.v1.Payments/Charge".
    pub fn call(&mut self, procedure: &str, request: &[u8]) -> Result {
        let answer = fetch(|dst, cap| unsafe {
            abi::call(procedure.as_ptr(), procedure.len() as u32, request.as_ptr(), request.len() as u32, dst, cap)
        });
        answer.map_err(|code| about(code, procedure))
    }

    /// Sends a plain HTTP request; both are JSON, as docs/ABI.md has them.
    pub fn http(&mut self, request: &[u8]) -> Result {
        fetch(|dst, cap| unsafe { abi::http(request.as_ptr(), request.len() as u32, dst, cap) }).map_err(|code| about(code, "http"))
    }

    /// Reads a configuration value of the module; None when there is none.
    pub fn config(&self, key: &str) -> std::result::Result<Option<String>, Error> {
        let v = optional(fetch(|dst, cap| unsafe { abi::config_get(key.as_ptr(), key.len() as u32, dst, cap) }), key)?;
        Ok(v.map(|v| String::from_utf8_lossy(&v).into_owned()))
    }

    /// Reads a secret that the module was granted. Do not log it.
    pub fn secret(&self, name: &str) -> Result {
        fetch(|dst, cap| unsafe { abi::secret_get(name.as_ptr(), name.len() as u32, dst, cap) }).map_err(|code| about(code, name))
    }

    /// The time left for this call.
    pub fn remaining(&self) -> std::time::Duration {
        std::time::Duration::from_millis(unsafe { abi::deadline() }.max(0) as u64)
    }

    /// Writes one line into the host's log.
    pub fn log(&self, level: Level, text: &str) {
        unsafe { abi::log(level as u32, text.as_ptr(), text.len() as u32) }
    }
}

/// Reads an answer of the host: into a small buffer first, and what is longer
/// with result. The closure runs once, for it may be a call to a peer.
fn fetch(ask: impl FnOnce(*mut u8, u32) -> i64) -> std::result::Result<Vec<u8>, Code> {
    let mut v: Vec<u8> = Vec::with_capacity(512);
    let n = ask(v.as_mut_ptr(), v.capacity() as u32);
    if n < 0 {
        return Err(Code::of(-n as u32));
    }
    let mut n = n as usize;
    if n > v.capacity() {
        v.reserve_exact(n);
        n = unsafe { abi::result(v.as_mut_ptr(), n as u32, 0) } as usize;
    }
    unsafe { v.set_len(n) };
    Ok(v)
}

fn optional(v: std::result::Result<Vec<u8>, Code>, name: &str) -> std::result::Result<Option<Vec<u8>>, Error> {
    match v {
        Ok(v) => Ok(Some(v)),
        Err(Code::NotFound) => Ok(None),
        Err(code) => Err(about(code, name)),
    }
}

fn status(number: u32, name: &str) -> std::result::Result<(), Error> {
    match number {
        0 => Ok(()),
        n => Err(about(Code::of(n), name)),
    }
}

/// The error of the last host call, whose text the host has kept.
fn about(code: Code, name: &str) -> Error {
    let mut v: Vec<u8> = Vec::with_capacity(1024);
    unsafe {
        let n = abi::result(v.as_mut_ptr(), v.capacity() as u32, 0);
        v.set_len(n as usize);
    }
    match String::from_utf8_lossy(&v) {
        text if text.is_empty() => Error::new(code, format!("{name}: {code:?}")),
        text => Error::new(code, format!("{name}: {text}")),
    }
}

/// Runs one call; handler! calls it.
pub fn run(input_len: u32, handler: fn(&mut Context) -> Result) -> u32 {
    let mut input: Vec<u8> = Vec::with_capacity(input_len as usize);
    unsafe {
        let n = abi::input(input.as_mut_ptr(), input_len, 0);
        input.set_len(n as usize);
    }
    let (answer, code) = match handler(&mut Context { input }) {
        Ok(output) => (output, 0),
        Err(e) => (e.message.into_bytes(), e.code as u32),
    };
    unsafe { abi::output(answer.as_ptr(), answer.len() as u32) };
    code
}

/// Exports a handler under a name: `handler!("greet", greet);`
#[macro_export]
macro_rules! handler {
    ($name:literal, $handler:path) => {
        const _: () = {
            #[export_name = $name]
            extern "C" fn export(input_len: u32) -> u32 {
                $crate::run(input_len, $handler)
            }
        };
    };
}
