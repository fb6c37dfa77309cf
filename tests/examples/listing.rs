//! Prints the listing of a tree, in the form that is kept beside the tapes in `fixtures/`.

use std::path::PathBuf;
use std::process::ExitCode;

use tapedump_tests::tree::{Tree, print_listing};

fn main() -> ExitCode {
    let Some(root) = std::env::args_os().nth(1) else {
        eprintln!("usage: listing DIRECTORY");
        return ExitCode::from(2);
    };
    match Tree::read(&PathBuf::from(root)) {
        Ok(tree) => {
            print!("{}", print_listing(&tree));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("listing: {error}");
            ExitCode::FAILURE
        }
    }
}
