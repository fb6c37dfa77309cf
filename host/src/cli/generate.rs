//! Completions and manual pages, from the definitions of the arguments.

use super::exit::{CliError, Ended, HELP};
use super::raw::Arguments;
use crate::text::printable_path;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "tapedump";

pub fn completions(shell: Shell) -> Result<Ended, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut text);
    io::stdout().write_all(&text)?;
    Ok(Ended::Done)
}

pub fn man(directory: Option<&Path>) -> Result<Ended, CliError> {
    let command = Arguments::command().after_help(HELP);
    let Some(directory) = directory else {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text)?;
        io::stdout().write_all(&text)?;
        return Ok(Ended::Done);
    };
    clap_mangen::generate_to(command, directory).map_err(|error| {
        CliError::failed(format!("{}: cannot write the manual: {error}", printable_path(directory)))
    })?;
    Ok(Ended::Done)
}
