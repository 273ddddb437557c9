//! `halovae completions` and `halovae man`: generated from the definition of the flags.

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::console::emit;
use crate::error::Error;

const NAME: &str = "halovae";

/// Prints the completion script for a shell.
///
/// # Errors
/// That stdout takes nothing.
pub(crate) fn completions(shell: Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    emit(&script, None)
}

/// Prints the man page of halovae, or of one of its commands.
///
/// # Errors
/// [`Error::Usage`] for a command that does not exist; that stdout takes nothing.
pub(crate) fn man(command: Option<&str>) -> Result<(), Error> {
    let mut whole = Cli::command();
    whole.build();
    let page = match command {
        None => whole,
        Some(name) => {
            let found = whole.find_subcommand(name).ok_or_else(|| {
                let names: Vec<_> = whole.get_subcommands().map(clap::Command::get_name).collect();
                Error::Usage(format!("no command `{name}`; there are {}", names.join(", ")))
            })?;
            found.clone()
        }
    };
    let mut roff = Vec::new();
    Man::new(page).render(&mut roff).map_err(Error::stdout)?;
    emit(&roff, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let mut whole = Cli::command();
        whole.build();
        for command in whole.get_subcommands() {
            let mut page = Vec::new();
            Man::new(command.clone()).render(&mut page).unwrap();
            let page = String::from_utf8(page).unwrap();
            assert!(page.contains(".SH NAME"), "{}", command.get_name());
        }
    }

    #[test]
    fn pages_have_every_flag() {
        let mut whole = Cli::command();
        whole.build();
        for command in whole.get_subcommands() {
            let mut page = Vec::new();
            Man::new(command.clone()).render(&mut page).unwrap();
            let page = String::from_utf8(page).unwrap().replace('\\', "");
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{flag}")), "{} {flag}", command.get_name());
            }
        }
    }

    #[test]
    fn completions_know_every_flag() {
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), NAME, &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in Cli::command().get_subcommands() {
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(script.contains(&format!("--{flag}")), "{flag}");
            }
        }
    }
}
