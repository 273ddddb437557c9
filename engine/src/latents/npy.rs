//! Reads the header of a NumPy `.npy` file.
//!
//! Written here because the crates for this format set memory aside on the word of the header (its
//! length, the product of its extents) and accept more of Python than NumPy ever writes. This one
//! allocates nothing but the header's few values, and compares them with the bytes that are there.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use super::error::LatentsError;
use super::layout::{Element, Kind};
use super::stored::Stored;
use crate::files::text::{escaped, quoted};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy itself refuses longer headers unless told otherwise.
const MAX_HEADER_BYTES: usize = 10_000;
/// More axes than NumPy has.
const MAX_AXES: usize = 64;

pub(super) fn parse(bytes: &[u8]) -> Result<Stored, LatentsError> {
    let (header, data) = split(bytes).map_err(|problem| LatentsError::Npy { problem })?;
    let (descr, fortran_order, shape) =
        Dict::parse(header).map_err(|problem| LatentsError::Npy { problem })?;
    let element = element(&descr)?;
    // Before the data, of which no file can hold as much.
    if shape.iter().any(|&extent| u32::try_from(extent).is_err()) {
        return Err(LatentsError::Extent { shape: crate::files::text::shape(&shape) });
    }
    let expected =
        shape.iter().try_fold(element.kind.size(), |product, &extent| product.checked_mul(extent));
    if expected != Some(data.len()) {
        let problem = format!(
            "{} bytes of data, where {} of shape {} need {}; it is truncated or damaged",
            data.len(),
            quoted(&descr),
            crate::files::text::shape(&shape),
            expected.map_or("more than memory has".into(), |bytes| bytes.to_string()),
        );
        return Err(LatentsError::Npy { problem });
    }
    let data = bytes.len() - data.len()..bytes.len();
    Ok(Stored { element, fortran_order, shape, data, comfy: None })
}

/// Header and data.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin as one")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or("it ends after its first bytes")?;
    let too_short = "it ends within the length of its header";
    let (length, rest) = match version {
        [1, _] => {
            let (length, rest) = rest.split_first_chunk().ok_or(too_short)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        [2 | 3, _] => {
            let (length, rest) = rest.split_first_chunk().ok_or(too_short)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        [major, minor] => {
            return Err(format!("version {major}.{minor}, expected 1.0, 2.0 or 3.0"));
        }
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!("a header of {length} bytes, expected at most {MAX_HEADER_BYTES}"));
    }
    let (header, data) = rest
        .split_at_checked(length)
        .ok_or_else(|| format!("a header of {length} bytes, but {} follow", rest.len()))?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
    Ok((header, data))
}

fn element(descr: &str) -> Result<Element, LatentsError> {
    let (order, code) = descr.split_at_checked(1).unwrap_or(("", descr));
    let kind = match code {
        "f2" => Some(Kind::F16),
        "f4" => Some(Kind::F32),
        "f8" => Some(Kind::F64),
        _ => None,
    };
    let big_endian = match order {
        "<" => Some(false),
        ">" => Some(true),
        "=" => Some(cfg!(target_endian = "big")),
        _ => None,
    };
    match (kind, big_endian) {
        (Some(kind), Some(big_endian)) => Ok(Element { kind, big_endian }),
        _ => Err(LatentsError::Dtype {
            found: quoted(descr),
            expected: "float16, float32 or float64 (NumPy has no bfloat16; convert it to float32)",
        }),
    }
}

/// The fields of the header in whatever order.
#[derive(Default)]
struct Dict {
    descr: Option<String>,
    fortran_order: Option<bool>,
    shape: Option<Vec<usize>>,
}

impl Dict {
    /// Parses what NumPy writes: a dict literal of the three known keys.
    fn parse(header: &str) -> Result<(String, bool, Vec<usize>), String> {
        let mut text = Scanner { rest: header };
        let mut dict = Self::default();
        text.expect("{")?;
        while !text.take("}") {
            let key = text.string()?;
            text.expect(":")?;
            let known = match key {
                "descr" => dict.descr.replace(text.descr()?).is_none(),
                "fortran_order" => dict.fortran_order.replace(text.boolean()?).is_none(),
                "shape" => dict.shape.replace(text.tuple()?).is_none(),
                _ => return Err(format!("its header has an unknown field {}", quoted(key))),
            };
            if !known {
                return Err(format!("its header has {} twice", quoted(key)));
            }
            if !text.take(",") {
                text.expect("}")?;
                break;
            }
        }
        if !text.rest.trim_matches([' ', '\t', '\n', '\r']).is_empty() {
            return Err("its header goes on after the dict".into());
        }
        let missing = |field| format!("its header has no `{field}`");
        Ok((
            dict.descr.ok_or_else(|| missing("descr"))?,
            dict.fortran_order.ok_or_else(|| missing("fortran_order"))?,
            dict.shape.ok_or_else(|| missing("shape"))?,
        ))
    }
}

/// Reads tokens of a Python literal, white space before them ignored.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        match self.take(token) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{token}`"))),
        }
    }

    fn unexpected(&self, expected: &str) -> String {
        format!("its header has {} where {expected} is expected", quoted(self.rest))
    }

    /// A string without escapes: no key and no type that NumPy writes needs one.
    fn string(&mut self) -> Result<&'a str, String> {
        for quote in ["'", "\""] {
            if self.take(quote) {
                let (text, rest) = self
                    .rest
                    .split_once(quote)
                    .filter(|(text, _)| !text.contains(['\\', '\n']))
                    .ok_or_else(|| self.unexpected("the end of a string"))?;
                self.rest = rest;
                return Ok(text);
            }
        }
        Err(self.unexpected("a string"))
    }

    /// The element type. That of a structured array is a list of fields.
    fn descr(&mut self) -> Result<String, String> {
        if self.take("[") {
            return Err("it is a structured array, expected one of plain numbers".into());
        }
        self.string().map(str::to_owned)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        if self.take("True") {
            return Ok(true);
        }
        if self.take("False") {
            return Ok(false);
        }
        Err(self.unexpected("True or False"))
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        let mut extents = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            if extents.len() == MAX_AXES {
                return Err(format!("its header has more than {MAX_AXES} axes"));
            }
            extents.push(self.integer()?);
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(extents)
    }

    /// A whole number; Python 2 put an `L` behind it.
    fn integer(&mut self) -> Result<usize, String> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        if digits.is_empty() {
            return Err(self.unexpected("a whole number"));
        }
        self.rest = rest.strip_prefix('L').unwrap_or(rest);
        digits.parse().map_err(|_| format!("its header has the extent {}", escaped(digits)))
    }
}
