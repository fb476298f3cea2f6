//! `completion` and `man`: what a package installs beside the program.

use std::fs;

use clap::CommandFactory;

use super::arguments::{Completion, Man};
use super::console::Console;
use super::failure::Failure;
use super::{CommandLine, DONE};

/// Prints a completion script.
pub(super) fn completion(completion: &Completion, console: &mut Console) -> Result<u8, Failure> {
    let mut script = Vec::new();
    let mut command = CommandLine::command();
    clap_complete::generate(completion.shell, &mut command, "lastword", &mut script);
    console.print_bytes(&script)?;
    Ok(DONE)
}

/// Prints lastword(1), or writes the pages of all commands.
pub(super) fn man(man: &Man, console: &mut Console) -> Result<u8, Failure> {
    let command = CommandLine::command();
    match &man.directory {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            console.print_bytes(&page)?;
        }
        Some(directory) => {
            let wrap = |error| Failure::File { path: directory.clone(), error };
            fs::create_dir_all(directory).map_err(wrap)?;
            clap_mangen::generate_to(command, directory).map_err(wrap)?;
        }
    }
    Ok(DONE)
}
