//! Names of options in messages.

use std::fmt;

/// The name of an option in a message: as the field of a library's options (`max_memory`), or in the
/// alternate form (`{:#}`) as the flag of the command line (`--max-memory`).
///
/// Errors and notices are written once and read through both doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    option: &'static str,
    as_flag: bool,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.as_flag {
            return f.write_str(self.option);
        }
        f.write_str("--")?;
        self.option.split('_').enumerate().try_for_each(|(index, word)| {
            let dash = if index == 0 { "" } else { "-" };
            write!(f, "{dash}{word}")
        })
    }
}

/// How a message that is written to `f` names options.
pub fn names(f: &fmt::Formatter<'_>) -> impl Fn(&'static str) -> Named + use<> {
    let as_flag = f.alternate();
    move |option| Named { option, as_flag }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told;

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let option = names(f);
            write!(f, "{} or {} tiled", option("max_memory"), option("strategy"))
        }
    }

    #[test]
    fn both_doors_read_the_names_that_they_take() {
        assert_eq!(Told.to_string(), "max_memory or strategy tiled");
        assert_eq!(format!("{Told:#}"), "--max-memory or --strategy tiled");
    }
}
