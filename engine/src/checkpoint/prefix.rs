//! What precedes the names of a VAE's weights in a file.

/// Prefixes that a VAE usually has inside a larger checkpoint. Where both occur the later counts,
/// as it does in diffusers.
const USUAL: [&str; 2] = ["first_stage_model.", "vae."];
/// Longest prefix that is looked for.
const MAX_PREFIX: usize = 80;

/// The prefix of the VAE among all names of a file, or nothing: letters, digits and `._-` only.
/// `anchors` are weights of which every decoder has one. What precedes the first of them that is there
/// is a prefix.
///
/// # Errors
/// The prefixes of several decoders, where nothing tells which one is meant.
pub(crate) fn find<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    anchors: impl IntoIterator<Item = &'static str>,
) -> Result<&'a str, Vec<&'a str>> {
    for anchor in anchors {
        if let Some(prefix) = of_anchor(names.clone(), anchor)? {
            return Ok(prefix);
        }
    }
    // Where nothing is a whole decoder, what is left of one tells what is missing.
    Ok(usual(names, |name| name.starts_with("decoder.")).unwrap_or_default())
}

/// The usual prefix that there is, of a name that is a sign when it is taken away.
fn usual<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    is_sign: impl Fn(&str) -> bool,
) -> Option<&'static str> {
    let has =
        |prefix: &&str| names.clone().filter_map(|name| name.strip_prefix(prefix)).any(&is_sign);
    USUAL.into_iter().rev().find(has)
}

/// What precedes `anchor`, if it is there.
fn of_anchor<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    anchor: &str,
) -> Result<Option<&'a str>, Vec<&'a str>> {
    if let Some(usual) = usual(names.clone(), |name| name == anchor) {
        return Ok(Some(usual));
    }
    let mut found: Vec<_> = names
        .clone()
        .filter_map(|name| name.strip_suffix(anchor))
        .filter(|prefix| prefix.is_empty() || is_path(prefix))
        .collect();
    // With its names as they are, the VAE is what the file is about.
    if found.contains(&"") {
        return Ok(Some(""));
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
        [] => Ok(None),
        [prefix] => Ok(Some(prefix)),
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
    const CONV_IN: &str = "decoder.conv_in.weight";

    fn find<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<&'a str, Vec<&'a str>> {
        super::find(names, [CONV_IN, "decoder.first.weight"])
    }

    #[test]
    fn the_first_anchor_that_is_there_tells() {
        let of = |names: &[&str]| find(names.iter().copied()).map(str::to_owned).unwrap();
        let (first, second) = ("a.decoder.conv_in.weight", "b.decoder.first.weight");
        assert_eq!(of(&[second]), "b.");
        assert_eq!(of(&[second, first]), "a.");
        assert_eq!(of(&["vae.decoder.first.weight", first]), "a.");
        assert_eq!(of(&["vae.decoder.first.weight", "x"]), "vae.");
    }

    #[test]
    fn unusual_prefixes_are_found() {
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
