//! The host, by the imports of docs/ABI.md.

use std::cell::Cell;
use std::mem::swap;
use std::ptr::null;

use crate::{Code, Error, Level, Result};

// Pointers and lengths; an i64 is a length or minus a code.
#[link(wasm_import_module = "weft/v1")]
extern "C" {
    fn input(dst: *mut u8, cap: u32, offset: u32) -> u32;
    fn output(src: *const u8, len: u32);
    fn result(dst: *mut u8, cap: u32, offset: u32) -> u32;
    fn header_get(name: *const u8, name_len: u32, dst: *mut u8, cap: u32) -> i64;
    fn header_set(name: *const u8, name_len: u32, value: *const u8, len: u32);
    fn trailer_set(name: *const u8, name_len: u32, value: *const u8, len: u32);
    fn recv(dst: *mut u8, cap: u32) -> i64;
    fn send(src: *const u8, len: u32) -> u32;
    fn send_headers();
    fn error_detail(kind: *const u8, kind_len: u32, src: *const u8, len: u32);
    fn state_get(key: *const u8, key_len: u32, dst: *mut u8, cap: u32) -> i64;
    fn state_set(key: *const u8, key_len: u32, src: *const u8, len: u32) -> u32;
    fn state_delete(key: *const u8, key_len: u32) -> u32;
    fn publish(kind: *const u8, kind_len: u32, src: *const u8, len: u32) -> u32;
    fn call(procedure: *const u8, procedure_len: u32, src: *const u8, len: u32, dst: *mut u8, cap: u32) -> i64;
    fn call_detail(n: u32, dst: *mut u8, cap: u32) -> i64;
    fn http(src: *const u8, len: u32, dst: *mut u8, cap: u32) -> i64;
    fn config_get(key: *const u8, key_len: u32, dst: *mut u8, cap: u32) -> i64;
    fn secret_get(name: *const u8, name_len: u32, dst: *mut u8, cap: u32) -> i64;
    fn deadline() -> i64;
    fn log(level: u32, text: *const u8, len: u32);
}

/// The host of a call. Its methods use one import each, so that the linker drops
/// those that a module does not need.
pub struct Calls;

impl Calls {
    pub fn header_get(&self, name: &str) -> Result {
        fetch(|dst, cap| unsafe { header_get(name.as_ptr(), name.len() as u32, dst, cap) })
    }

    pub fn header_set(&self, name: &str, value: &str) {
        unsafe { header_set(name.as_ptr(), name.len() as u32, value.as_ptr(), value.len() as u32) }
    }

    pub fn trailer_set(&self, name: &str, value: &str) {
        unsafe { trailer_set(name.as_ptr(), name.len() as u32, value.as_ptr(), value.len() as u32) }
    }

    pub fn recv(&self) -> Result {
        fetch(|dst, cap| unsafe { recv(dst, cap) })
    }

    pub fn send(&self, message: &[u8]) -> Result<()> {
        status(unsafe { send(message.as_ptr(), message.len() as u32) })
    }

    pub fn send_headers(&self) {
        unsafe { send_headers() }
    }

    pub fn error_detail(&self, kind: &str, value: &[u8]) {
        unsafe { error_detail(kind.as_ptr(), kind.len() as u32, value.as_ptr(), value.len() as u32) }
    }

    pub fn state_get(&self, key: &str) -> Result {
        fetch(|dst, cap| unsafe { state_get(key.as_ptr(), key.len() as u32, dst, cap) })
    }

    pub fn state_set(&self, key: &str, value: &[u8]) -> Result<()> {
        status(unsafe { state_set(key.as_ptr(), key.len() as u32, value.as_ptr(), value.len() as u32) })
    }

    pub fn state_delete(&self, key: &str) -> Result<()> {
        status(unsafe { state_delete(key.as_ptr(), key.len() as u32) })
    }

    pub fn publish(&self, kind: &str, data: &[u8]) -> Result<()> {
        status(unsafe { publish(kind.as_ptr(), kind.len() as u32, data.as_ptr(), data.len() as u32) })
    }

    pub fn call(&self, procedure: &str, request: &[u8]) -> Result {
        fetch(|dst, cap| unsafe { call(procedure.as_ptr(), procedure.len() as u32, request.as_ptr(), request.len() as u32, dst, cap) })
    }

    pub fn call_detail(&self, n: u32) -> Result {
        fetch(|dst, cap| unsafe { call_detail(n, dst, cap) })
    }

    pub fn http(&self, request: &[u8]) -> Result {
        fetch(|dst, cap| unsafe { http(request.as_ptr(), request.len() as u32, dst, cap) })
    }

    pub fn config_get(&self, key: &str) -> Result {
        fetch(|dst, cap| unsafe { config_get(key.as_ptr(), key.len() as u32, dst, cap) })
    }

    pub fn secret_get(&self, name: &str) -> Result {
        fetch(|dst, cap| unsafe { secret_get(name.as_ptr(), name.len() as u32, dst, cap) })
    }

    pub fn deadline(&self) -> i64 {
        unsafe { deadline() }
    }

    pub fn log(&self, level: Level, text: &str) {
        unsafe { log(level as u32, text.as_ptr(), text.len() as u32) }
    }
}

/// Reads an answer of the host: into a small buffer first, and what is longer
/// with result. The closure runs once, for it may be a call to a peer.
fn fetch(ask: impl FnOnce(*mut u8, u32) -> i64) -> Result {
    let mut v: Vec<u8> = Vec::with_capacity(512);
    let n = ask(v.as_mut_ptr(), v.capacity() as u32);
    if n < 0 {
        return Err(failure(-n as u32));
    }
    if n as usize > v.capacity() {
        return Ok(rest(n as usize));
    }
    unsafe { v.set_len(n as usize) };
    Ok(v)
}

fn status(number: u32) -> Result<()> {
    match number {
        0 => Ok(()),
        n => Err(failure(n)),
    }
}

/// The error of the last host call, whose text the host has kept.
fn failure(number: u32) -> Error {
    Error::new(Code::from(number), String::from_utf8_lossy(&rest(1024)))
}

/// What the host has kept of the last call, n bytes at most.
fn rest(n: usize) -> Vec<u8> {
    let mut v: Vec<u8> = Vec::with_capacity(n);
    unsafe {
        let n = result(v.as_mut_ptr(), n as u32, 0);
        v.set_len(n as usize);
    }
    v
}

/// Where the host puts an input and takes the output, without a call of it:
/// docs/ABI.md.
#[repr(C)]
struct Mailbox {
    served: Cell<u32>,
    room: Cell<*const u8>,
    room_for: Cell<usize>,
    input_len: Cell<u32>,
    output: Cell<*const u8>,
    output_len: Cell<usize>,
}

/// What an instance has between calls.
struct Kept {
    mailbox: Mailbox,
    room: Cell<Vec<u8>>,   // for the next input
    answer: Cell<Vec<u8>>, // which the host has yet to take
}

/// An instance has one thread.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept {
    mailbox: Mailbox {
        served: Cell::new(0),
        room: Cell::new(null()),
        room_for: Cell::new(0),
        input_len: Cell::new(0),
        output: Cell::new(null()),
        output_len: Cell::new(0),
    },
    room: Cell::new(Vec::new()),
    answer: Cell::new(Vec::new()),
};

/// Of memory that is larger nothing is kept.
const KEPT_MAX: usize = 64 << 10;

#[no_mangle]
extern "C" fn weft_mailbox() -> *const Mailbox {
    make_room(Vec::with_capacity(1024));
    &KEPT.mailbox
}

/// Serves one call of an export; handler! and json_handler! use it. It is inlined
/// into that: an import costs more in a function that the export calls.
#[doc(hidden)]
#[inline(always)]
pub fn serve(input_len: u32, run: impl FnOnce(&mut crate::Context) -> Result) -> u32 {
    let mailbox = &KEPT.mailbox;
    let mut bytes = Vec::new();
    if input_len > 0 {
        bytes = KEPT.room.take();
        if mailbox.input_len.get() != input_len {
            if bytes.capacity() < input_len as usize {
                bytes = Vec::with_capacity(input_len as usize);
            }
            unsafe { input(bytes.as_mut_ptr(), input_len, 0) };
        }
        unsafe { bytes.set_len(input_len as usize) };
    }
    let mut ctx = crate::Context { input: bytes, host: Calls };
    let (mut answer, code) = match run(&mut ctx) {
        Ok(output) => (output, 0),
        Err(e) => (e.message.into_bytes(), e.code as u32),
    };
    if !answer.is_empty() {
        if mailbox.served.get() == 1 && answer.capacity() <= KEPT_MAX {
            mailbox.output.set(answer.as_ptr());
            mailbox.output_len.set(answer.len());
        } else {
            unsafe { output(answer.as_ptr(), answer.len() as u32) };
        }
    }
    if input_len > 0 {
        if answer.capacity() > ctx.input.capacity() {
            swap(&mut answer, &mut ctx.input)
        }
        make_room(ctx.input)
    }
    if answer.capacity() > 0 && answer.capacity() <= KEPT_MAX {
        KEPT.answer.set(answer)
    }
    code
}

/// Inlined, so that the parts of a Vec stay in registers.
#[inline(always)]
fn make_room(mut room: Vec<u8>) {
    if room.capacity() > KEPT_MAX {
        room = Vec::new()
    }
    KEPT.mailbox.room.set(room.as_ptr());
    KEPT.mailbox.room_for.set(room.capacity());
    KEPT.room.set(room)
}
