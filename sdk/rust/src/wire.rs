//! Protobuf's wire format, for the code that weft module generate writes.
//!
//! A field that is not known, or of another type, is passed over.

use std::collections::BTreeMap;

use crate::{Code, Context, Error, Result};

/// What generated code makes of a message.
pub trait Message: Default {
    /// Its name in protobuf, such as google.protobuf.Duration.
    const NAME: &'static str;

    /// Adds the fields that r has.
    fn read(&mut self, r: &mut Reader);

    /// Writes the fields that are there.
    fn write(&self, w: &mut Writer);
}

impl<M: Message> Message for Box<M> {
    const NAME: &'static str = M::NAME;

    fn read(&mut self, r: &mut Reader) {
        (**self).read(r)
    }

    fn write(&self, w: &mut Writer) {
        (**self).write(w)
    }
}

/// Reads a message; bytes that are none are InvalidArgument.
pub fn decode<M: Message>(data: &[u8]) -> Result<M> {
    let mut r = Reader { rest: data, num: 0, kind: VARINT, waiting: false, depth: 0, error: None };
    let mut m = M::default();
    m.read(&mut r);
    match r.error {
        Some(e) => Err(Error::new(Code::InvalidArgument, format!("{}: {e}", M::NAME))),
        None => Ok(m),
    }
}

/// The encoding of a message: the same message has the same one each time.
pub fn encode<M: Message>(m: &M) -> Vec<u8> {
    let mut w = Writer(Vec::new());
    m.write(&mut w);
    w.0
}

/// The messages of a stream, up to its end or the first error.
pub struct Messages<'a, M> {
    ctx: &'a Context,
    ended: bool,
    of: std::marker::PhantomData<M>,
}

impl<M: Message> Iterator for Messages<'_, M> {
    type Item = Result<M>;

    fn next(&mut self) -> Option<Result<M>> {
        if self.ended {
            return None;
        }
        let next = match self.ctx.recv() {
            Ok(None) => None,
            Ok(Some(data)) => Some(decode(&data)),
            Err(e) => Some(Err(e)),
        };
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Where the messages of a stream go.
pub struct Sender<'a, M> {
    ctx: &'a Context,
    of: std::marker::PhantomData<M>,
}

impl<M: Message> Sender<'_, M> {
    /// Sends a message, and waits until there is room for it.
    pub fn send(&self, m: &M) -> Result<()> {
        self.ctx.send(&encode(m))
    }
}

/// Runs a method with a message each way.
pub fn unary<I: Message, O: Message>(ctx: &mut Context, method: impl FnOnce(&Context, I) -> Result<O>) -> Result {
    let it = decode(ctx.input())?;
    method(ctx, it).map(|out| encode(&out))
}

/// Runs a method that answers with a stream.
pub fn server_stream<I: Message, O: Message>(ctx: &mut Context, method: impl FnOnce(&Context, I, Sender<O>) -> Result<()>) -> Result {
    let data = ctx.recv()?.ok_or_else(|| Error::new(Code::InvalidArgument, "the request is missing"))?;
    method(ctx, decode(&data)?, Sender { ctx, of: Default::default() })?;
    Ok(Vec::new())
}

/// Runs a method that takes a stream.
pub fn client_stream<I: Message, O: Message>(ctx: &mut Context, method: impl FnOnce(&Context, Messages<I>) -> Result<O>) -> Result {
    let out = method(ctx, Messages { ctx, ended: false, of: Default::default() })?;
    ctx.send(&encode(&out))?;
    Ok(Vec::new())
}

/// Runs a method with a stream each way.
pub fn bidi_stream<I: Message, O: Message>(ctx: &mut Context, method: impl FnOnce(&Context, Messages<I>, Sender<O>) -> Result<()>) -> Result {
    method(ctx, Messages { ctx, ended: false, of: Default::default() }, Sender { ctx, of: Default::default() })?;
    Ok(Vec::new())
}

/// How a value lies in the bytes.
pub type Kind = u8;

pub const VARINT: Kind = 0;
pub const FIXED64: Kind = 1;
pub const BYTES: Kind = 2;
pub const FIXED32: Kind = 5;
const GROUP: Kind = 3;
const GROUP_END: Kind = 4;

/// How deep messages may lie in each other.
pub const DEPTH_MAX: u32 = 100;

const TRUNCATED: &str = "the message ends in the middle of a field";
const TOO_LONG: &str = "a number has more than 64 bits";
const NO_FIELD: &str = "a field has no valid number or type";
const NO_TEXT: &str = "a string is not UTF-8";
const TOO_DEEP: &str = "messages lie more than 100 deep in each other";

/// Reads a message, a field at a time.
pub struct Reader<'a> {
    rest: &'a [u8],
    num: u32,
    kind: Kind,
    waiting: bool, // the field's value is still the next that rest has
    depth: u32,
    error: Option<&'static str>, // the first
}

macro_rules! numbers {
    ($($name:ident $type:ty, $kind:expr, $from:expr;)*) => {
        $(
            pub fn $name(&mut self, v: &mut $type) {
                if self.take($kind) {
                    let bits = self.number($kind);
                    if self.error.is_none() {
                        *v = $from(bits);
                    }
                }
            }
        )*
    };
}

impl<'a> Reader<'a> {
    /// Goes to the next field, past the value of the one before if it was not
    /// taken. It is false at the end and after an error.
    pub fn next(&mut self) -> bool {
        if self.waiting {
            self.waiting = false;
            self.skip(self.kind, self.num, 0);
        }
        if self.error.is_some() || self.rest.is_empty() {
            return false;
        }
        let (num, kind) = self.tag();
        if kind == GROUP_END {
            self.fail(NO_FIELD);
        }
        self.num = num;
        self.kind = kind;
        self.waiting = self.error.is_none();
        self.waiting
    }

    /// The number of the field that next has found.
    pub fn num(&self) -> u32 {
        self.num
    }

    /// Says whether the field's value was taken: it was of the right type.
    pub fn took(&self) -> bool {
        !self.waiting && self.error.is_none()
    }

    fn fail(&mut self, why: &'static str) {
        self.error.get_or_insert(why);
        self.rest = &[];
        self.waiting = false;
    }

    fn tag(&mut self) -> (u32, Kind) {
        let tag = self.varint();
        let (num, kind) = (tag >> 3, (tag & 7) as Kind);
        if self.error.is_none() && (num < 1 || num > (1 << 29) - 1 || kind > FIXED32) {
            self.fail(NO_FIELD);
        }
        (num as u32, kind)
    }

    fn take(&mut self, kind: Kind) -> bool {
        let is = self.waiting && self.kind == kind;
        self.waiting &= !is;
        is
    }

    fn varint(&mut self) -> u64 {
        let mut v = 0;
        for (i, &b) in self.rest.iter().enumerate() {
            if i == 9 && b > 1 {
                self.fail(TOO_LONG);
                return 0;
            }
            v |= u64::from(b & 0x7f) << (7 * i);
            if b < 0x80 {
                self.rest = &self.rest[i + 1..];
                return v;
            }
        }
        self.fail(TRUNCATED);
        0
    }

    fn cut(&mut self, n: u64) -> &'a [u8] {
        if n > self.rest.len() as u64 {
            self.fail(TRUNCATED);
            return &[];
        }
        let (b, rest) = self.rest.split_at(n as usize);
        self.rest = rest;
        b
    }

    fn body(&mut self) -> &'a [u8] {
        let n = self.varint();
        self.cut(n)
    }

    fn number(&mut self, kind: Kind) -> u64 {
        match kind {
            VARINT => self.varint(),
            FIXED64 => self.cut(8).try_into().map_or(0, u64::from_le_bytes),
            _ => self.cut(4).try_into().map_or(0, u32::from_le_bytes).into(),
        }
    }

    fn skip(&mut self, kind: Kind, num: u32, depth: u32) {
        match kind {
            BYTES => drop(self.body()),
            GROUP => {
                while self.error.is_none() {
                    match self.tag() {
                        (n, GROUP_END) if n == num => return,
                        (_, GROUP_END) => self.fail(NO_FIELD),
                        _ if depth >= DEPTH_MAX => self.fail(TOO_DEEP),
                        (n, inner) => self.skip(inner, n, depth + 1),
                    }
                }
            }
            _ => drop(self.number(kind)),
        }
    }

    /// Reads body, and goes on behind it.
    fn within(&mut self, body: &'a [u8], read: impl FnOnce(&mut Self)) {
        if self.error.is_some() {
            return;
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail(TOO_DEEP);
        }
        let rest = std::mem::replace(&mut self.rest, body);
        read(self);
        self.depth -= 1;
        if self.error.is_none() {
            self.rest = rest;
            self.waiting = false;
        }
    }

    // Those below take the field's value if it is of their type, and leave v as it
    // is otherwise.
    numbers! {
        int32 i32, VARINT, |n: u64| n as i32;
        int64 i64, VARINT, |n: u64| n as i64;
        uint32 u32, VARINT, |n: u64| n as u32;
        uint64 u64, VARINT, |n: u64| n;
        sint32 i32, VARINT, |n: u64| ((n as u32) >> 1) as i32 ^ -((n & 1) as i32);
        sint64 i64, VARINT, |n: u64| (n >> 1) as i64 ^ -((n & 1) as i64);
        bool bool, VARINT, |n: u64| n != 0;
        fixed32 u32, FIXED32, |n: u64| n as u32;
        fixed64 u64, FIXED64, |n: u64| n;
        sfixed32 i32, FIXED32, |n: u64| n as i32;
        sfixed64 i64, FIXED64, |n: u64| n as i64;
        float f32, FIXED32, |n: u64| f32::from_bits(n as u32);
        double f64, FIXED64, f64::from_bits;
    }

    pub fn enumeration<E: From<i32>>(&mut self, v: &mut E) {
        let mut n = 0;
        self.int32(&mut n);
        if self.took() {
            *v = E::from(n);
        }
    }

    pub fn string(&mut self, v: &mut String) {
        if self.take(BYTES) {
            match std::str::from_utf8(self.body()) {
                Ok(text) => *v = text.to_owned(),
                Err(_) => self.fail(NO_TEXT),
            }
        }
    }

    pub fn bytes(&mut self, v: &mut Vec<u8>) {
        if self.take(BYTES) {
            *v = self.body().to_vec();
        }
    }

    pub fn message<M: Message>(&mut self, v: &mut M) {
        if self.take(BYTES) {
            let body = self.body();
            self.within(body, |r| v.read(r));
        }
    }

    /// Takes a message, or adds it to the one that is there.
    pub fn some_message<M: Message>(&mut self, v: &mut Option<M>) {
        if self.waiting && self.kind == BYTES {
            self.message(v.get_or_insert_with(M::default));
        }
    }

    pub fn some<T: Default>(&mut self, v: &mut Option<T>, take: fn(&mut Self, &mut T)) {
        let mut one = T::default();
        take(self, &mut one);
        if self.took() {
            *v = Some(one);
        }
    }

    pub fn list<T: Default>(&mut self, list: &mut Vec<T>, take: fn(&mut Self, &mut T)) {
        let mut one = T::default();
        take(self, &mut one);
        if self.took() {
            list.push(one);
        }
    }

    /// Takes one more of a list of numbers, or several at once.
    pub fn packed<T: Default>(&mut self, list: &mut Vec<T>, kind: Kind, take: fn(&mut Self, &mut T)) {
        if !self.take(BYTES) {
            return self.list(list, take);
        }
        let body = self.body();
        self.within(body, |r| {
            while !r.rest.is_empty() {
                r.kind = kind;
                r.waiting = true;
                r.list(list, take);
            }
        });
    }

    pub fn map<K: Default + Ord, V: Default>(&mut self, map: &mut BTreeMap<K, V>, key: fn(&mut Self, &mut K), value: fn(&mut Self, &mut V)) {
        if !self.take(BYTES) {
            return;
        }
        let body = self.body();
        self.within(body, |r| {
            let (mut k, mut v) = (K::default(), V::default());
            while r.next() {
                match r.num {
                    1 => key(r, &mut k),
                    2 => value(r, &mut v),
                    _ => {}
                }
            }
            if r.error.is_none() {
                map.insert(k, v);
            }
        });
    }
}

/// Writes a message. The number 0 is that of a value without a field: one of a
/// packed list.
pub struct Writer(Vec<u8>);

macro_rules! puts {
    ($($name:ident $type:ty, $kind:expr, $bits:expr;)*) => {
        $(
            pub fn $name(&mut self, num: u32, v: &$type) {
                self.number(num, $kind, $bits(*v));
            }
        )*
    };
}

#[allow(clippy::ptr_arg)] // lists of them are written by these
impl Writer {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    fn tag(&mut self, num: u32, kind: Kind) {
        if num != 0 {
            self.varint(u64::from(num) << 3 | u64::from(kind));
        }
    }

    fn number(&mut self, num: u32, kind: Kind, bits: u64) {
        self.tag(num, kind);
        match kind {
            VARINT => self.varint(bits),
            FIXED64 => self.0.extend(bits.to_le_bytes()),
            _ => self.0.extend((bits as u32).to_le_bytes()),
        }
    }

    puts! {
        int32 i32, VARINT, |v: i32| i64::from(v) as u64;
        int64 i64, VARINT, |v: i64| v as u64;
        uint32 u32, VARINT, u64::from;
        uint64 u64, VARINT, u64::from;
        sint32 i32, VARINT, |v: i32| u64::from((v << 1 ^ v >> 31) as u32);
        sint64 i64, VARINT, |v: i64| (v << 1 ^ v >> 63) as u64;
        bool bool, VARINT, u64::from;
        fixed32 u32, FIXED32, u64::from;
        fixed64 u64, FIXED64, u64::from;
        sfixed32 i32, FIXED32, |v: i32| u64::from(v as u32);
        sfixed64 i64, FIXED64, |v: i64| v as u64;
        float f32, FIXED32, |v: f32| u64::from(v.to_bits());
        double f64, FIXED64, f64::to_bits;
    }

    pub fn enumeration<E: Copy + Into<i32>>(&mut self, num: u32, v: &E) {
        self.int32(num, &(*v).into());
    }

    fn raw(&mut self, num: u32, v: &[u8]) {
        self.tag(num, BYTES);
        self.varint(v.len() as u64);
        self.0.extend(v);
    }

    pub fn string(&mut self, num: u32, v: &String) {
        self.raw(num, v.as_bytes());
    }

    pub fn bytes(&mut self, num: u32, v: &Vec<u8>) {
        self.raw(num, v);
    }

    pub fn message<M: Message>(&mut self, num: u32, v: &M) {
        self.raw(num, &encode(v));
    }

    pub fn list<T>(&mut self, num: u32, list: &[T], put: fn(&mut Self, u32, &T)) {
        for v in list {
            put(self, num, v);
        }
    }

    pub fn packed<T>(&mut self, num: u32, list: &[T], put: fn(&mut Self, u32, &T)) {
        if !list.is_empty() {
            let mut all = Writer(Vec::new());
            all.list(0, list, put);
            self.raw(num, &all.0);
        }
    }

    pub fn map<K, V>(&mut self, num: u32, map: &BTreeMap<K, V>, key: fn(&mut Self, u32, &K), value: fn(&mut Self, u32, &V)) {
        for (k, v) in map {
            let mut entry = Writer(Vec::new());
            key(&mut entry, 1, k);
            value(&mut entry, 2, v);
            self.raw(num, &entry.0);
        }
    }
}
