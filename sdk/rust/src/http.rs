use std::collections::BTreeMap;

use crate::json::{Json, Mismatch, Value};

/// A plain HTTP request. The module must have been granted the host and port of
/// its URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Absolute.
    pub url: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, url: &str) -> Request {
        Request { method: method.into(), url: url.into(), ..Request::default() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.insert(name.into(), value.into());
        self
    }

    pub fn body(mut self, body: &[u8]) -> Request {
        self.body = body.into();
        self
    }
}

/// The answer to a Request, whatever its status. The names of its headers are in
/// lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

crate::record! {
    /// A Request as it is on the wire.
    pub(crate) struct WireRequest { pub method: String, pub url: String, pub headers: BTreeMap<String, String>, pub body: Base64 }
    pub(crate) struct WireResponse { pub status: u16, pub headers: BTreeMap<String, String>, pub body: Base64 }
}

/// Bytes that are base64 in JSON.
#[derive(Default)]
pub(crate) struct Base64(pub Vec<u8>);

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Json for Base64 {
    fn read(value: Value) -> Result<Base64, Mismatch> {
        let text = String::read(value)?;
        decode(&text).map(Base64).ok_or_else(|| Mismatch::because("no base64"))
    }

    fn write(&self, out: &mut String) {
        out.push('"');
        for part in self.0.chunks(3) {
            let bits = part.iter().enumerate().fold(0, |v, (i, b)| v | (*b as u32) << (16 - 8 * i));
            for i in 0..4 {
                out.push(if i <= part.len() { DIGITS[(bits >> (18 - 6 * i) & 63) as usize] as char } else { '=' });
            }
        }
        out.push('"');
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() % 4 != 0 {
        return None;
    }
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut n) = (0u32, 0);
    for c in digits.bytes() {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | digit as u32;
        n += 6;
        if n >= 8 {
            n -= 8;
            out.push((bits >> n) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn bytes_are_base64() {
        for (bytes, text) in [(&b""[..], "\"\""), (b"f", "\"Zg==\""), (b"fo", "\"Zm8=\""), (b"foo", "\"Zm9v\""), (b"\x00\xff\xfe>", "\"AP/+Pg==\"")] {
            assert_eq!(json::write(&Base64(bytes.into())), text.as_bytes());
            assert_eq!(json::read::<Base64>(text.as_bytes()).unwrap().0, bytes);
        }
        for text in ["\"Zg=\"", "\"Z===\"", "\"Z!==\""] {
            assert!(json::read::<Base64>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
