//! `completion` and `man`: files that a package installs with the program.

mod configuration;

use std::fs;
use std::io;
use std::path::Path;

use clap_mangen::roff::{Roff, bold, roman};

use super::arguments::{Completion, Man};
use super::console::Console;
use super::exit::DONE;
use super::failure::Failure;

/// Prints a completion script.
pub(super) fn completion(
    completion: &Completion,
    mut command: clap::Command,
    console: &mut Console,
) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(completion.shell, &mut command, "lastword", &mut script);
    console.print_bytes(&script)?;
    Ok(DONE)
}

/// Prints lastword(1), or writes the pages of all commands.
pub(super) fn man(man: &Man, command: clap::Command, console: &mut Console) -> Result<u8, Failure> {
    let mut command = command.disable_help_subcommand(true);
    match &man.directory {
        None => console.print_bytes(&page(command)?)?,
        Some(directory) => {
            let wrap = |error| Failure::File { path: directory.clone(), error };
            fs::create_dir_all(directory).map_err(wrap)?;
            // Building the command gives the subcommands their full names.
            command.build();
            write_pages(&command, directory).map_err(wrap)?;
            let file = directory.join(configuration::FILE);
            fs::write(file, configuration::page()).map_err(wrap)?;
        }
    }
    Ok(DONE)
}

fn write_pages(command: &clap::Command, directory: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_pages(subcommand, directory)?;
    }
    let file = clap_mangen::Man::new(command.clone()).get_filename();
    fs::write(directory.join(file), page(command.clone())?)
}

/// Generates the page of one command. clap_mangen reflows the lines of the examples, so they are
/// written here as a section of their own.
fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let command_name = command.get_name().to_owned();
    let extra = command.get_after_long_help().map(ToString::to_string);
    let mut page = Vec::new();
    clap_mangen::Man::new(command.after_long_help(None::<&str>)).render(&mut page)?;
    if let Some(extra) = extra {
        let (title, lines) = match extra.strip_prefix("Examples:\n") {
            Some(examples) => ("EXAMPLES", examples),
            None => ("NOTES", &*extra),
        };
        let mut section = Roff::new();
        section.control("SH", [title]).control("nf", []);
        for line in lines.lines() {
            section.text([roman(line)]);
        }
        section.control("fi", []).to_writer(&mut page)?;
    }
    if ["lastword", "serve", "check"].contains(&command_name.as_str()) {
        let mut section = Roff::new();
        section.control("SH", ["SEE ALSO"]).text([bold("lastword.toml"), roman("(5)")]);
        section.to_writer(&mut page)?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn examples_keep_their_lines() {
        let mut command = crate::surfaces::cli::CommandLine::command();
        command.build();
        let why = command.find_subcommand("why").unwrap().clone();
        let page = String::from_utf8(page(why).unwrap()).unwrap();
        let (_, examples) = page.split_once(".SH EXAMPLES\n.nf\n").unwrap();
        let (examples, rest) = examples.split_once("\n.fi").unwrap();
        assert!(
            examples.lines().any(|line| line.trim()
                == "lastword why ann \\-\\-json          exactly what the API returned"),
            "{examples}"
        );
        assert!(rest.trim().is_empty() && !page.contains("EXTRA"), "{page}");
    }
}
