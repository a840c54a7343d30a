//! JSON, and the types that are read from it and written as it.

use std::collections::BTreeMap;
use std::fmt;

/// How deep arrays and objects may lie in each other.
pub const DEPTH_MAX: usize = 128;

/// A value of JSON. A number is kept as it is written, so nothing of it is lost.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Reads all of a text.
    pub fn parse(text: &[u8]) -> Result<Value, Mismatch> {
        let text = std::str::from_utf8(text).map_err(|e| Mismatch::at(e.valid_up_to(), "bytes that are no UTF-8"))?;
        let mut p = Parser { text, at: 0 };
        let value = p.value(0)?;
        p.space();
        match p.at == text.len() {
            true => Ok(value),
            false => Err(p.wrong("more than one value")),
        }
    }

    /// The value of a key; None where there is none, and for what is no object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(fields) => fields.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    fn kind(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Bool(_) => "a bool".into(),
            Value::Number(digits) => digits.clone(),
            Value::String(_) => "a string".into(),
            Value::Array(_) => "an array".into(),
            Value::Object(_) => "an object".into(),
        }
    }

    fn unlike<T>(&self, want: &str) -> Result<T, Mismatch> {
        Err(Mismatch::because(&format!("{}, want {want}", self.kind())))
    }
}

/// Why a text is no JSON, or a value not of the type that it is read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    path: String,
    what: String,
}

impl Mismatch {
    fn at(offset: usize, what: &str) -> Mismatch {
        Mismatch::because(&format!("{what} at byte {offset}"))
    }

    pub(crate) fn because(what: &str) -> Mismatch {
        Mismatch { path: String::new(), what: what.into() }
    }

    fn within(mut self, outer: &str) -> Mismatch {
        let point = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{outer}{point}{}", self.path);
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.what),
            path => write!(f, "{path} is {}", self.what),
        }
    }
}

/// What a handler of JSON takes and answers; record! makes a struct one.
pub trait Json: Sized {
    fn read(value: Value) -> Result<Self, Mismatch>;
    fn write(&self, out: &mut String);
}

/// Reads a text as a type.
pub fn read<T: Json>(text: &[u8]) -> Result<T, Mismatch> {
    T::read(Value::parse(text)?)
}

/// Writes a value as text.
pub fn write<T: Json>(value: &T) -> Vec<u8> {
    let mut out = String::new();
    value.write(&mut out);
    out.into_bytes()
}

/// Declares structs that are objects in JSON. Of input a field that is absent or
/// null has its default, and what is no field is ignored. A key that is no name in
/// Rust is said with `as`:
///
/// ```
/// weft::record! {
///     pub struct Order { pub id: String, pub kind: Option<String> as "type", pub items: Vec<String> }
/// }
/// ```
#[macro_export]
macro_rules! record {
    ($($(#[$about:meta])* $vis:vis struct $name:ident {
        $($(#[$note:meta])* $fvis:vis $field:ident : $type:ty $(as $key:literal)?),* $(,)?
    })*) => {$(
        $(#[$about])*
        #[derive(Default)]
        $vis struct $name { $($(#[$note])* $fvis $field: $type),* }

        impl $crate::json::Json for $name {
            #[allow(unused_mut, unused_variables)]
            fn read(value: $crate::json::Value) -> ::std::result::Result<Self, $crate::json::Mismatch> {
                let mut all = Self::default();
                for (key, value) in $crate::json::fields(value)? {
                    $(if key == $crate::record!(@key $field $($key)?) {
                        all.$field = $crate::json::within(&key, value)?;
                        continue;
                    })*
                }
                Ok(all)
            }

            #[allow(unused_mut)]
            fn write(&self, out: &mut String) {
                let mut before = "{";
                $(
                    $crate::json::key(out, before, $crate::record!(@key $field $($key)?));
                    $crate::json::Json::write(&self.$field, out);
                    before = ",";
                )*
                out.push_str(if before == "{" { "{}" } else { "}" });
            }
        }
    )*};
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}

/// The fields of an object that are not null.
#[doc(hidden)]
pub fn fields(value: Value) -> Result<impl Iterator<Item = (String, Value)>, Mismatch> {
    match value {
        Value::Object(fields) => Ok(fields.into_iter().filter(|(_, v)| *v != Value::Null)),
        other => other.unlike("an object"),
    }
}

#[doc(hidden)]
pub fn within<T: Json>(key: &str, value: Value) -> Result<T, Mismatch> {
    T::read(value).map_err(|e| e.within(key))
}

#[doc(hidden)]
pub fn key(out: &mut String, before: &str, key: &str) {
    out.push_str(before);
    quote(out, key);
    out.push(':');
}

impl Json for Value {
    fn read(value: Value) -> Result<Value, Mismatch> {
        Ok(value)
    }

    fn write(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(v) => v.write(out),
            Value::Number(digits) => out.push_str(digits),
            Value::String(v) => v.write(out),
            Value::Array(v) => v.write(out),
            Value::Object(fields) => object(out, fields.iter().map(|(k, v)| (k, v))),
        }
    }
}

impl Json for String {
    fn read(value: Value) -> Result<String, Mismatch> {
        match value {
            Value::String(v) => Ok(v),
            other => other.unlike("a string"),
        }
    }

    fn write(&self, out: &mut String) {
        quote(out, self);
    }
}

impl Json for bool {
    fn read(value: Value) -> Result<bool, Mismatch> {
        match value {
            Value::Bool(v) => Ok(v),
            other => other.unlike("a bool"),
        }
    }

    fn write(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

macro_rules! numbers {
    ($want:literal, $fits:expr; $($type:ty)*) => {$(
        impl Json for $type {
            fn read(value: Value) -> Result<$type, Mismatch> {
                match &value {
                    Value::Number(digits) => match digits.parse::<$type>() {
                        Ok(n) if $fits(n) => Ok(n),
                        _ => value.unlike(stringify!($type)),
                    },
                    other => other.unlike($want),
                }
            }

            fn write(&self, out: &mut String) {
                match self.to_string() {
                    text if text.ends_with(|c: char| c.is_ascii_digit()) => out.push_str(&text),
                    _ => out.push_str("null"), // a float that is no number
                }
            }
        }
    )*};
}

numbers!("an integer", |_| true; i8 i16 i32 i64 isize u8 u16 u32 u64 usize);
numbers!("a number", |n| f64::from(n).is_finite(); f32 f64);

impl<T: Json> Json for Option<T> {
    fn read(value: Value) -> Result<Option<T>, Mismatch> {
        match value {
            Value::Null => Ok(None),
            other => T::read(other).map(Some),
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Some(v) => v.write(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: Json> Json for Vec<T> {
    fn read(value: Value) -> Result<Vec<T>, Mismatch> {
        match value {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(i, v)| T::read(v).map_err(|e| e.within(&format!("[{i}]")))).collect()
            }
            other => other.unlike("an array"),
        }
    }

    fn write(&self, out: &mut String) {
        out.push('[');
        for (i, v) in self.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            v.write(out);
        }
        out.push(']');
    }
}

impl<T: Json> Json for BTreeMap<String, T> {
    fn read(value: Value) -> Result<Self, Mismatch> {
        let read = |(k, v): (String, Value)| within(&k, v).map(|v| (k, v));
        fields(value)?.map(read).collect()
    }

    fn write(&self, out: &mut String) {
        object(out, self.iter());
    }
}

fn object<'a, T: Json + 'a>(out: &mut String, fields: impl Iterator<Item = (&'a String, &'a T)>) {
    out.push('{');
    for (i, (k, v)) in fields.enumerate() {
        key(out, if i > 0 { "," } else { "" }, k);
        v.write(out);
    }
    out.push('}');
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0'..='\x1f' => out.push_str(&format!("\\u{:04x}", c as u32)),
            _ => out.push(c),
        }
    }
    out.push('"');
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn wrong(&self, what: &str) -> Mismatch {
        match self.at < self.text.len() {
            true => Mismatch::at(self.at, what),
            false => Mismatch::because("an unexpected end"),
        }
    }

    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Steps over c, and the space before it, where it is next.
    fn next_is(&mut self, c: u8) -> bool {
        self.space();
        let is = self.peek() == c;
        self.at += is as usize;
        is
    }

    fn value(&mut self, depth: usize) -> Result<Value, Mismatch> {
        self.space();
        if depth > DEPTH_MAX {
            return Err(self.wrong("nesting that is too deep"));
        }
        match self.peek() {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(Value::String),
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                for (word, value) in [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))] {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.wrong("no JSON"))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Mismatch> {
        self.at += 1;
        let mut fields = Vec::new();
        if self.next_is(b'}') {
            return Ok(Value::Object(fields));
        }
        loop {
            self.space();
            if self.peek() != b'"' {
                return Err(self.wrong("no key"));
            }
            let key = self.string()?;
            if !self.next_is(b':') {
                return Err(self.wrong("no colon"));
            }
            fields.push((key, self.value(depth + 1)?));
            if self.next_is(b'}') {
                return Ok(Value::Object(fields));
            }
            if !self.next_is(b',') {
                return Err(self.wrong("no comma"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Mismatch> {
        self.at += 1;
        let mut items = Vec::new();
        if self.next_is(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.next_is(b']') {
                return Ok(Value::Array(items));
            }
            if !self.next_is(b',') {
                return Err(self.wrong("no comma"));
            }
        }
    }

    fn digits(&mut self) -> Result<(), Mismatch> {
        let from = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        match self.at > from {
            true => Ok(()),
            false => Err(self.wrong("no digit")),
        }
    }

    fn number(&mut self) -> Result<Value, Mismatch> {
        let from = self.at;
        self.at += (self.peek() == b'-') as usize;
        match self.peek() {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            self.at += matches!(self.peek(), b'+' | b'-') as usize;
            self.digits()?;
        }
        Ok(Value::Number(self.text[from..self.at].into()))
    }

    fn string(&mut self) -> Result<String, Mismatch> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let from = self.at;
            while !matches!(self.peek(), b'"' | b'\\' | 0..=0x1f) {
                self.at += 1;
            }
            out.push_str(&self.text[from..self.at]);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => {
                    self.at += 1;
                    let c = self.escape()?;
                    out.push(c);
                }
                _ => return Err(self.wrong("a control character in a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Mismatch> {
        let c = match self.peek() {
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            c @ (b'"' | b'\\' | b'/') => c as char,
            b'u' => return self.rune(),
            _ => return Err(self.wrong("an unknown escape")),
        };
        self.at += 1;
        Ok(c)
    }

    /// Reads u and four digits, or two of those that are a pair. Half a pair is U+FFFD.
    fn rune(&mut self) -> Result<char, Mismatch> {
        let high = self.unit()?;
        let after = self.at;
        if (0xd800..0xdc00).contains(&high) && self.text[after..].starts_with("\\u") {
            self.at += 1;
            match self.unit()? {
                low @ 0xdc00..=0xdfff => return Ok(char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).unwrap()),
                _ => self.at = after,
            }
        }
        Ok(char::from_u32(high).unwrap_or('\u{fffd}'))
    }

    fn unit(&mut self) -> Result<u32, Mismatch> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.ok_or_else(|| self.wrong("no four hex digits"))?;
        self.at += 5;
        Ok(digits.iter().fold(0, |v, d| v * 16 + (*d as char).to_digit(16).unwrap()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::record! {
        #[derive(Debug, PartialEq)]
        struct Inner { deep: Vec<u8> }

        #[derive(Debug, PartialEq)]
        struct All { text: String, n: i64, f: f64, yes: bool, kind: Option<String> as "type", inner: Inner, by: BTreeMap<String, i32>, any: Option<Value> }

        #[derive(Debug, PartialEq)]
        struct Nothing {}
    }

    #[test]
    fn what_is_written_is_read() {
        let all = All {
            text: "a\"\\\n\u{1}é😀".into(),
            n: -9007199254740993,
            f: 1.5e-7,
            yes: true,
            kind: Some("k".into()),
            inner: Inner { deep: vec![1, 2] },
            by: BTreeMap::from([("a".to_string(), 1), ("b".to_string(), -2)]),
            any: Some(Value::Array(vec![Value::Object(vec![("x".into(), Value::Number("1e99".into()))]), Value::Bool(false)])),
        };
        let text = write(&all);
        assert_eq!(read::<All>(&text).unwrap(), all, "{}", String::from_utf8_lossy(&text));
        assert_eq!(write(&Nothing {}), b"{}");
        assert_eq!(write(&f64::NAN), b"null");
    }

    #[test]
    fn what_is_absent_null_or_unknown_has_its_default() {
        assert_eq!(read::<All>(br#" {"more":[{}], "n":null, "text":"a", "text":"b"} "#).unwrap(), All { text: "b".into(), ..All::default() });
        assert_eq!(read::<Nothing>(br#"{"a":1}"#).unwrap(), Nothing {});
        assert_eq!(Value::parse(br#"{"a":1,"a":2}"#).unwrap().get("a"), Some(&Value::Number("2".into())));
    }

    #[test]
    fn runes_may_be_escaped() {
        for (text, want) in [(r#""\ud83d\ude00""#, "😀"), (r#""\ud83d""#, "\u{fffd}"), (r#""\ud83d\u0041""#, "\u{fffd}A"), (r#""\/\b\f\n\r\t""#, "/\x08\x0c\n\r\t")] {
            assert_eq!(read::<String>(text.as_bytes()).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_or_another_type_says_where() {
        let deep = "[".repeat(200);
        for (text, want) in [
            ("", "an unexpected end"),
            (r#"{"text""#, "an unexpected end"),
            (r#"{"text":"a"#, "an unexpected end"),
            ("Ada", "no JSON at byte 0"),
            ("{} {}", "more than one value at byte 3"),
            ("{n:1}", "no key at byte 1"),
            (r#"{"n" 1}"#, "no colon at byte 5"),
            (r#"{"n":1 "f":2}"#, "no comma at byte 7"),
            (r#"{"n":01}"#, "no comma at byte 6"),
            (r#"{"n":-}"#, "no digit at byte 6"),
            ("{\"text\":\"\n\"}", "a control character in a string at byte 9"),
            (r#"{"text":"\x"}"#, "an unknown escape at byte 10"),
            (r#"{"text":"\u12"}"#, "no four hex digits at byte 10"),
            (r#"{"text":7}"#, "text is 7, want a string"),
            (r#"{"n":"x"}"#, "n is a string, want an integer"),
            (r#"{"n":1.5}"#, "n is 1.5, want i64"),
            (r#"{"n":9223372036854775808}"#, "n is 9223372036854775808, want i64"),
            (r#"{"f":1e400}"#, "f is 1e400, want f64"),
            (r#"{"inner":{"deep":[1,300]}}"#, "inner.deep[1] is 300, want u8"),
            (r#"{"by":{"x":[]}}"#, "by.x is an array, want an integer"),
            ("[]", "an array, want an object"),
            (deep.as_str(), "nesting that is too deep at byte 129"),
        ] {
            assert_eq!(read::<All>(text.as_bytes()).unwrap_err().to_string(), want, "{text}");
        }
        assert_eq!(read::<String>(b"\"a\xff\"").unwrap_err().to_string(), "bytes that are no UTF-8 at byte 2");
    }
}
