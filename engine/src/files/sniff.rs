//! What people hand in instead of the file that is expected, told by its first bytes.

use std::fmt;

use serde_json::Value;

use super::text::quoted;

/// As much of a file as decides what it is, unless it is JSON.
const HEAD_BYTES: usize = 512;
/// JSON up to this size is read for what it says.
const MAX_JSON_BYTES: usize = 1 << 20;
/// Less than this is too little to call it text.
const MIN_TEXT_BYTES: usize = 8;

/// A kind of file that is no weights and no config, or not those that are read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// What Git LFS leaves where a file was not fetched.
    LfsPointer,
    /// A web page.
    Html,
    /// What object stores answer.
    Xml,
    /// JSON with an error message in it.
    Refusal(String),
    /// The index of a sharded checkpoint.
    ShardIndex,
    /// Other JSON.
    Json,
    /// Other text; its beginning.
    Text(String),
    /// A zip archive as `torch.save` writes it.
    TorchZip,
    /// Any other zip archive.
    Zip,
    /// What `torch.save` wrote before.
    Pickle,
    /// A gzip archive.
    Gzip,
    /// A GGUF file.
    Gguf,
    /// A NumPy array.
    Numpy,
    /// An HDF5 file.
    Hdf5,
    /// An ONNX model.
    Onnx,
    /// Flax' weights.
    Flax,
    /// A safetensors file.
    Safetensors,
    /// Nothing but zeros.
    Zeros,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LfsPointer => "a Git LFS pointer",
            Self::Html => "an HTML page",
            Self::Xml => "an XML document",
            Self::Refusal(message) => {
                return write!(f, "a server's error message ({})", quoted(message));
            }
            Self::ShardIndex => "an index of shards",
            Self::Json => "JSON",
            Self::Text(beginning) => return write!(f, "text ({})", quoted(beginning)),
            Self::TorchZip => "a zip archive as torch.save writes it",
            Self::Zip => "a zip archive",
            Self::Pickle => "a pickle",
            Self::Gzip => "a gzip archive",
            Self::Gguf => "a GGUF file",
            Self::Numpy => "a NumPy array",
            Self::Hdf5 => "an HDF5 file",
            Self::Onnx => "an ONNX model",
            Self::Flax => "a Flax file (msgpack)",
            Self::Safetensors => "a safetensors file",
            Self::Zeros => "zeros from its beginning",
        })
    }
}

impl FileKind {
    /// What to do about it, with leading punctuation; empty if that is plain.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::LfsPointer => "; fetch the file with `git lfs pull`",
            Self::Html => {
                "; download the file itself (on huggingface.co by its `resolve` link: `blob` is a \
                 page about it)"
            }
            Self::Xml | Self::Text(_) => "; if a server answered so, download it again",
            Self::Refusal(_) => {
                "; download it again, logged in (`hf auth login`) if the model asks for that"
            }
            Self::TorchZip | Self::Pickle => "; tensors are read from safetensors (save_file)",
            Self::Zip | Self::Gzip => "; unpack it",
            Self::Gguf | Self::Onnx | Self::Flax | Self::Hdf5 => {
                "; take the model's .safetensors instead"
            }
            Self::Zeros => "; its download was not finished, do it again",
            Self::ShardIndex | Self::Json | Self::Numpy | Self::Safetensors => "",
        }
    }

    /// Whether `torch.load` reads it.
    pub(crate) fn is_torch(&self) -> bool {
        matches!(self, Self::TorchZip | Self::Pickle)
    }
}

/// What the file of these first bytes is; `None` if nothing is recognised. Bytes that can be the
/// beginning of a safetensors file are never taken for anything else.
pub(crate) fn sniff(bytes: &[u8]) -> Option<FileKind> {
    if bytes.get(4..9) == Some(b"\0\0\0\0{") {
        return Some(FileKind::Safetensors);
    }
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let binary: [(&[u8], FileKind); 10] = [
        (b"\x1f\x8b", FileKind::Gzip),
        (b"GGUF", FileKind::Gguf),
        (b"\x93NUMPY", FileKind::Numpy),
        (b"\x89HDF", FileKind::Hdf5),
        (b"version https://git-lfs", FileKind::LfsPointer),
        (b"version https://hawser", FileKind::LfsPointer),
        (b"\x80\x02", FileKind::Pickle),
        (b"\x80\x03", FileKind::Pickle),
        (b"\x80\x04", FileKind::Pickle),
        (b"\x80\x05", FileKind::Pickle),
    ];
    if let Some((_, kind)) = binary.into_iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(kind);
    }
    if head.starts_with(b"PK\x03\x04") {
        // The pickle is always the first file of torch's archives.
        let is_torch = head.windows(8).any(|window| window == b"data.pkl");
        return Some(if is_torch { FileKind::TorchZip } else { FileKind::Zip });
    }
    match head {
        // A map with few keys, the first of which is a string.
        [0x81..=0x8f, 0xa0..=0xbf | 0xd9, ..] => return Some(FileKind::Flax),
        // The version of the format, and the name of what wrote it.
        [0x08, 0x03..=0x10, 0x12, ..] => return Some(FileKind::Onnx),
        _ => {}
    }
    // A header of length 0 is none.
    if head.len() > MIN_TEXT_BYTES && head.iter().all(|&byte| byte == 0) {
        return Some(FileKind::Zeros);
    }
    text(head).map(|beginning| kind_of_text(beginning, bytes))
}

/// Why bytes cannot be read as JSON.
pub(crate) enum NotJson {
    /// They are something else.
    Other(FileKind),
    /// They are text, with this mistake in it.
    Syntax(serde_json::Error),
}

/// Parses JSON, and recognises what is none, or is neither a config nor of the `wanted` kind.
pub(crate) fn parse_json(bytes: &[u8], wanted: &FileKind) -> Result<Value, NotJson> {
    let value = serde_json::from_slice(bytes).map_err(|error| match sniff(bytes) {
        None | Some(FileKind::Text(_)) => NotJson::Syntax(error),
        Some(kind) => NotJson::Other(kind),
    })?;
    match json(&value).filter(|kind| kind != wanted) {
        Some(kind) => Err(NotJson::Other(kind)),
        None => Ok(value),
    }
}

fn kind_of_text(beginning: &str, bytes: &[u8]) -> FileKind {
    let beginning = beginning.trim_start_matches('\u{feff}').trim();
    let lower = beginning.to_ascii_lowercase();
    if lower.starts_with("<!doctype html") || lower.contains("<html") || lower.contains("<head") {
        return FileKind::Html;
    }
    if lower.starts_with("<?xml") || lower.starts_with("<error") {
        return FileKind::Xml;
    }
    if beginning.starts_with(['{', '['])
        && bytes.len() <= MAX_JSON_BYTES
        && let Ok(value) = serde_json::from_slice(bytes)
    {
        return json(&value).unwrap_or(FileKind::Json);
    }
    FileKind::Text(beginning.lines().next().unwrap_or_default().to_owned())
}

/// JSON that certainly is not the config of a model.
fn json(value: &Value) -> Option<FileKind> {
    let object = value.as_object()?;
    if object.contains_key("_class_name") || object.contains_key("block_out_channels") {
        return None;
    }
    if object.contains_key("weight_map") {
        return Some(FileKind::ShardIndex);
    }
    let message = ["error", "message", "detail"].iter().find_map(|key| object.get(*key))?;
    // `{"error": "..."}` mostly, and `{"error": {"message": "..."}}`.
    let message = message.get("message").unwrap_or(message);
    Some(FileKind::Refusal(message.as_str().map_or_else(|| message.to_string(), str::to_owned)))
}

/// The bytes as text, if that is what they are; the last character may be cut.
fn text(head: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_plain = |character: char| !character.is_control() || character.is_whitespace();
    (head.len() >= MIN_TEXT_BYTES && text.chars().all(is_plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_beginnings() {
        let refusal = |message: &str| Some(FileKind::Refusal(message.into()));
        let text = |line: &str| Some(FileKind::Text(line.into()));
        let cases: [(&[u8], Option<FileKind>); 25] = [
            (b"", None),
            (b"text", None),
            (b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7", None),
            (b"\x40\0\0\0\0\0\0\0{\"a\":", Some(FileKind::Safetensors)),
            (b"\x80\x02\0\0\0\0\0\0{", Some(FileKind::Safetensors)),
            (b"\x80\x02\x8a\x0al\xfc\x9c", Some(FileKind::Pickle)),
            (b"\x80\x05\x95", Some(FileKind::Pickle)),
            (b"PK\x03\x04\0\0\x08\x08archive/data.pkl", Some(FileKind::TorchZip)),
            (b"PK\x03\x04\0\0\x08\x08notes.txt", Some(FileKind::Zip)),
            (b"version https://git-lfs.github.com/spec/v1\noid", Some(FileKind::LfsPointer)),
            (b"\n <!DOCTYPE html>\n<html lang=\"en\">", Some(FileKind::Html)),
            (b"\xef\xbb\xbf<HTML><HEAD>", Some(FileKind::Html)),
            (b"<!-- a comment --><html>", Some(FileKind::Html)),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied", Some(FileKind::Xml)),
            (b"{\"error\":\"Access is restricted\"}", refusal("Access is restricted")),
            (b"{\"error\":{\"message\":\"no\"}}", refusal("no")),
            (b"{\"detail\":[\"x\"]}", refusal("[\"x\"]")),
            (b"{\"weight_map\":{}}", Some(FileKind::ShardIndex)),
            (b"{\"_class_name\":\"A\",\"error\":3}", Some(FileKind::Json)),
            (b"Entry not found\n", text("Entry not found")),
            (b"{\"truncated\": ", text("{\"truncated\":")),
            (b"GGUF\x03\0\0\0", Some(FileKind::Gguf)),
            (b"\x82\xa7decoder\x84", Some(FileKind::Flax)),
            (b"\x08\x07\x12\x07pytorch", Some(FileKind::Onnx)),
            (&[0; 600], Some(FileKind::Zeros)),
        ];
        for (bytes, kind) in cases {
            assert_eq!(sniff(bytes), kind, "{:?}", bytes.escape_ascii().to_string());
        }
        // A character that is cut by the end of what is looked at.
        let long = format!("{}é", "x".repeat(HEAD_BYTES - 1));
        assert!(matches!(sniff(long.as_bytes()), Some(FileKind::Text(_))));
    }
}
