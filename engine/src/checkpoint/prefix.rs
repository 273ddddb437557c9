//! What precedes the names of a VAE's weights in a file.

/// Prefixes that a VAE usually has inside a larger checkpoint. Where both occur the later counts,
/// as it does in diffusers.
const USUAL: [&str; 2] = ["first_stage_model.", "vae."];
/// A weight of every decoder that is supported; what precedes it is a prefix.
const CONV_IN: &str = "decoder.conv_in.weight";
/// Longest prefix that is looked for.
const MAX_PREFIX: usize = 80;

/// The prefix of the VAE among all names of a file, or nothing: letters, digits and `._-` only.
///
/// # Errors
/// The prefixes of several decoders, where nothing tells which one is meant.
pub(crate) fn find<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<&'a str, Vec<&'a str>> {
    let usual = |is_sign: fn(&str) -> bool| {
        let has =
            |prefix: &&str| names.clone().filter_map(|name| name.strip_prefix(prefix)).any(is_sign);
        USUAL.into_iter().rev().find(has)
    };
    if let Some(usual) = usual(|name| name == CONV_IN) {
        return Ok(usual);
    }
    let mut found: Vec<_> = names
        .clone()
        .filter_map(|name| name.strip_suffix(CONV_IN))
        .filter(|prefix| prefix.is_empty() || is_path(prefix))
        .collect();
    // Where nothing is a whole decoder, what is left of one tells what is missing.
    if found.is_empty() {
        return Ok(usual(|name| name.starts_with("decoder.")).unwrap_or_default());
    }
    // With its names as they are, the VAE is what the file is about.
    if found.contains(&"") {
        return Ok("");
    }
    // A usual one, behind that of the larger model.
    for usual in USUAL.into_iter().rev() {
        let ends =
            |prefix: &str| prefix.strip_suffix(usual).is_some_and(|outer| outer.ends_with('.'));
        if found.iter().any(|prefix| ends(prefix)) {
            found.retain(|prefix| ends(prefix));
            break;
        }
    }
    match found[..] {
        [prefix] => Ok(prefix),
        _ => Err(found),
    }
}

/// Whether `prefix` is a path of modules, fit to be shown.
fn is_path(prefix: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    prefix.len() <= MAX_PREFIX && prefix.ends_with('.') && prefix.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{CONV_IN, find};

    #[test]
    fn prefixes_that_nobody_wrote_down_are_found() {
        let prefix = |prefixes: &[&str]| {
            let names: Vec<_> =
                prefixes.iter().map(|prefix| format!("{prefix}{CONV_IN}")).collect();
            find(names.iter().map(String::as_str)).map(str::to_owned).map_err(|found| found.len())
        };
        for one in ["model.", "module.", "_orig_mod.", "model.vae.", "net.first_stage_model."] {
            assert_eq!(prefix(&[one]), Ok(one.to_owned()));
            // The names as they are, and the usual prefixes, come first.
            assert_eq!(prefix(&[one, ""]), Ok(String::new()));
            assert_eq!(prefix(&[one, "vae."]), Ok("vae.".to_owned()));
        }
        assert_eq!(prefix(&["a.audio_vae.", "a.vae.", "ema."]), Ok("a.vae.".to_owned()));
        assert_eq!(prefix(&["model.", "ema."]), Err(2));
        assert_eq!(prefix(&["a.vae.", "b.vae.", "c."]), Err(2));
        // What is no path of modules is no prefix.
        for odd in ["en", "a\u{1b}.", "a b."] {
            assert_eq!(prefix(&[odd]), Ok(String::new()));
        }
    }

    #[test]
    fn a_stray_tensor_is_no_decoder() {
        for stray in ["vae.decoder.x", "first_stage_model.decoder.x"] {
            for prefix in ["", "model.", "first_stage_model.", "vae."] {
                let names = [stray, &format!("{prefix}{CONV_IN}")];
                assert_eq!(find(names.into_iter()), Ok(prefix), "{stray}");
            }
            // Of a decoder that lacks the rest.
            let prefix = stray.strip_suffix("decoder.x").unwrap();
            assert_eq!(find([stray, "encoder.x"].into_iter()), Ok(prefix));
        }
    }
}
