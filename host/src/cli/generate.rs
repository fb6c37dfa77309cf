//! Completions and manual pages, from the definitions of the arguments.

use super::exit::{CliError, Ended};
use crate::cli::raw::Arguments;
use crate::text::printable_path;
use clap::CommandFactory;
use clap::builder::Resettable;
use clap_complete::Shell;
use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "tapedump";

/// Lets bash complete the tapes of the library, too, where a tape is wanted.
const BASH_TAPES: &str = r#"
_tapedump_with_tapes() {
    case "$3" in
        -t|--tape)
            local tapes
            tapes="$(tapedump tape list 2>/dev/null | sed -n 's/^\([^ ]\{1,\}\) .*/\1/p')"
            COMPREPLY=($(compgen -W "$tapes" -- "$2") $(compgen -f -- "$2"))
            ;;
        *) _tapedump "$@" ;;
    esac
}
complete -F _tapedump_with_tapes -o bashdefault -o default tapedump
"#;

pub fn completions(shell: Shell) -> Result<Ended, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut text);
    if shell == Shell::Bash {
        text.extend_from_slice(BASH_TAPES.as_bytes());
    }
    io::stdout().write_all(&text)?;
    Ok(Ended::Done)
}

/// What the manual says behind the pages' own text.
const SECTIONS: &str = r#".SH "EXIT STATUS"
.TP
\fB0\fR
Done.
.TP
\fB1\fR
Done, but something is missing, damaged or different; it was named.
.TP
\fB2\fR
Wrong usage: the command line is not understood.
.TP
\fB3\fR
Failed; the message says what, where, and what to do.
.SH ENVIRONMENT
.TP
\fBTAPEDUMP_STATE\fR
The state directory.
.TP
\fBXDG_STATE_HOME\fR, \fBHOME\fR
Where the state directory is when \fBTAPEDUMP_STATE\fR is not set.
.TP
\fBSOURCE_DATE_EPOCH\fR
Time of the dump in seconds since 1970, for dumps that are the same byte for byte.
.TP
\fBTAPEDUMP_DUMP_ID\fR
Identity of the dump, 32 hexadecimal digits, for the same purpose.
.TP
\fBTAPEDUMP_BOOT_ID\fR
Another boot than that of this system, 32 hexadecimal digits: the snapshots of dumps are numbered from 0 again.
.SH FILES
.TP
\fI/var/lib/tapedump\fR, \fI~/.local/state/tapedump\fR
The state directory of root, and of everybody else.
.TP
\fItapes/NAME\fR
In it, the tapes of the library: \fIlabel.json\fR, and \fIfile\-0000.tape\fR and further tape files, each a plain dump.
"#;

/// One page, from the name to the sections that all pages have.
fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.after_help(Resettable::Reset)).render(&mut text)?;
    text.extend_from_slice(SECTIONS.as_bytes());
    Ok(text)
}

/// Writes the pages of `command`, which is built, and of all below it.
fn pages(command: &clap::Command, directory: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    std::fs::write(directory.join(format!("{name}.1")), page(command.clone())?)?;
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|below| pages(below, directory))
}

pub fn man(directory: Option<&Path>) -> Result<Ended, CliError> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let Some(directory) = directory else {
        io::stdout().write_all(&page(command)?)?;
        return Ok(Ended::Done);
    };
    std::fs::create_dir_all(directory).and_then(|()| pages(&command, directory)).map_err(|error| {
        CliError::failed(format!(
            "{}: cannot write the manual: {error}; name a directory that can be written",
            printable_path(directory)
        ))
    })?;
    Ok(Ended::Done)
}
