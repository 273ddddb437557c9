//! What the names of files say of the weights in them.

/// Beginning of the names that diffusers gives to weights.
pub(crate) const STEM: &str = "diffusion_pytorch_model";

/// More shards than a VAE of any size has.
pub(crate) const MAX_SHARDS: usize = 1024;

/// What a file of a set of weights is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form<'a> {
    /// All of the weights.
    Whole,
    /// Says which shard holds what.
    Index,
    /// A part of the weights.
    Shard(Shard<'a>),
}

/// One shard's name, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard<'a> {
    before: &'a str,
    number: &'a str,
    of: &'a str,
    after: &'a str,
}

impl Shard<'_> {
    /// The names of all shards of its set.
    pub(crate) fn siblings(self) -> impl Iterator<Item = String> {
        let Self { before, number, of, after } = self;
        let count: usize = of.parse().unwrap_or(0);
        let width = number.len();
        (1..=count).map(move |number| format!("{before}-{number:0width$}-of-{of}{after}"))
    }

    /// The name of a file with the weights of all of them.
    pub(crate) fn whole(self) -> String {
        format!("{}{}", self.before, self.after)
    }
}

/// The parts of a name with `-00001-of-00002` in it.
pub(crate) fn shard(name: &str) -> Option<Shard<'_>> {
    let middle = name.rfind("-of-")?;
    let (left, right) = (&name[..middle], &name[middle + "-of-".len()..]);
    let dash = left.rfind('-')?;
    let (before, number) = (&left[..dash], &left[dash + 1..]);
    let digits = right.bytes().take_while(u8::is_ascii_digit).count();
    let (of, after) = right.split_at(digits);
    let count = |text: &str| {
        let is_count = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<usize>().ok().filter(|count| is_count && (1..=MAX_SHARDS).contains(count))
    };
    (count(number)? <= count(of)?).then_some(Shard { before, number, of, after })
}

/// The variant (empty for the plain weights) and the form that a name gives, if it is that of
/// safetensors weights of diffusers.
///
/// Today's names are `STEM.fp16.safetensors`, `STEM.fp16-00001-of-00002.safetensors` and
/// `STEM.safetensors.index.fp16.json`; older ones `STEM-00001-of-00002.fp16.safetensors` and
/// `STEM.safetensors.fp16.index.json`.
pub(crate) fn weights(name: &str) -> Option<(&str, Form<'_>)> {
    const ENDING: &str = ".safetensors";
    let rest = name.strip_prefix(STEM)?;
    if let Some(index) = rest.strip_prefix(ENDING).filter(|rest| rest.ends_with(".json")) {
        return Some((variant(index_part(index)?)?, Form::Index));
    }
    let rest = rest.strip_suffix(ENDING)?;
    let Some(parts) = shard(rest) else { return Some((variant(rest)?, Form::Whole)) };
    let part = match (parts.before, parts.after) {
        (before, "") => before,
        ("", after) => after,
        _ => return None,
    };
    // With the whole name, so that those of its siblings follow from it.
    Some((variant(part)?, Form::Shard(shard(name)?)))
}

/// If `name` is that of an index of shards in torch's own format, the name of a file with the
/// weights of all of them.
pub(crate) fn torch_index(name: &str) -> Option<String> {
    const ENDING: &str = ".bin";
    let stem = &name[..name.find(".bin.")?];
    let part = index_part(&name[stem.len() + ENDING.len()..])?;
    variant(part).map(|_| format!("{stem}{part}.bin"))
}

/// The part of a variant in `.index.fp16.json` or `.fp16.index.json`.
fn index_part(ending: &str) -> Option<&str> {
    const INDEX: &str = ".index";
    let index = ending.strip_suffix(".json")?;
    index.strip_prefix(INDEX).or_else(|| index.strip_suffix(INDEX))
}

/// `.fp16` names the variant `fp16`, nothing the plain weights.
fn variant(part: &str) -> Option<&str> {
    match part {
        "" => Some(""),
        part => part.strip_prefix('.').filter(|variant| !variant.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_variant_and_form() {
        let told = |rest: &str| {
            let name = format!("{STEM}{rest}");
            weights(&name).map(|(variant, form)| {
                let form = match form {
                    Form::Whole => "whole",
                    Form::Index => "index",
                    Form::Shard(_) => "shard",
                };
                format!("{form} {variant}")
            })
        };
        for (rest, expected) in [
            (".safetensors", "whole "),
            (".fp16.safetensors", "whole fp16"),
            (".non_ema.safetensors", "whole non_ema"),
            (".fp16.ema.safetensors", "whole fp16.ema"),
            (".safetensors.index.json", "index "),
            (".safetensors.index.fp16.json", "index fp16"),
            (".safetensors.fp16.index.json", "index fp16"),
            ("-00001-of-00002.safetensors", "shard "),
            (".fp16-00002-of-00002.safetensors", "shard fp16"),
            ("-00001-of-00002.fp16.safetensors", "shard fp16"),
        ] {
            assert_eq!(told(rest).as_deref(), Some(expected), "{rest}");
        }
        for rest in [
            "",
            "safetensors",
            "..safetensors",
            "_ema.safetensors",
            ".bin",
            ".safetensors.json",
            ".bin.index.json",
            ".safetensors.index",
            "-00003-of-00002.safetensors",
            ".fp16-00001-of-00002.ema.safetensors",
        ] {
            assert_eq!(told(rest), None, "{rest}");
        }
        assert_eq!(weights("model.safetensors"), None);
    }

    #[test]
    fn an_index_of_torch_tells_what_holds_all() {
        for (name, whole) in [
            ("m.bin.index.json", Some("m.bin")),
            ("m.bin.index.fp16.json", Some("m.fp16.bin")),
            ("m.bin.fp16.index.json", Some("m.fp16.bin")),
            ("m.safetensors.index.json", None),
            ("m.bin.json", None),
            ("m.bin", None),
            ("m.binary.index.json", None),
            ("m.bin.indexed.json", None),
        ] {
            assert_eq!(torch_index(name).as_deref(), whole, "{name}");
        }
    }

    #[test]
    fn a_shard_tells_its_siblings() {
        let of = |name| shard(name).map(|shard| shard.siblings().collect::<Vec<_>>());
        assert_eq!(
            of("m-00002-of-00002.bin").unwrap(),
            ["m-00001-of-00002.bin", "m-00002-of-00002.bin"]
        );
        assert_eq!(shard("a.fp16-1-of-3.st").unwrap().whole(), "a.fp16.st");
        for other in ["m-0-of-2", "m-00001-of-", "1-of-2", "m-x-of-2", "m-1-of-2000", "m-+1-of-2"] {
            assert_eq!(shard(other), None, "{other}");
        }
    }
}
