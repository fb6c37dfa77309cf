//! `tapedump browse`: walks through the merged tree of a chain, shows what a name was in other dumps, and restores what is
//! marked.
//!
//! ```text
//! state      what is shown, and what keys do to it: pure
//! draw       the state on a screen
//! directory  windows of a directory's names, out of catalogs
//! history    versions of the selected name, found while no key comes
//! screen     the terminal, and its restoration
//! ```

mod directory;
mod draw;
mod history;
mod screen;
mod state;

use self::directory::Directory;
use self::draw::Scene;
use self::history::Past;
use self::screen::Screen;
use self::state::{Action, State};
use super::exit::{CliError, Ended};
use super::interrupt::Interrupt;
use crate::cli::history::chain::Forest;
use crate::cli::history::points::{self, Way, When};
use crate::cli::history::recorded::Recordings;
use crate::cli::history::tree_view::{self, HostCatalogError, HostView, ids_of};
use crate::cli::history::versions::ways;
use crate::cli::list::utc;
use crate::cli::raw;
use crate::cli::raw::history::{Browse, Moment};
use crate::cli::restore;
use crate::state::StateDir;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::layout::Rect;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tapedump_core::catalog::View;
use tapedump_core::device::volume::TargetCapabilities;
use tapedump_core::units::Ino;

/// Signals are looked for this often while no key comes.
const WAIT: Duration = Duration::from_millis(200);
/// Keys are looked for this often while versions are looked for.
const WORK: Duration = Duration::from_millis(30);

pub fn run(raw: Browse) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let recordings = Recordings::load(&state)?;
    let way = points::way(&recordings, raw.of.as_deref(), raw.at.as_ref())?;
    let forest = Forest::of(&recordings, way.tree);
    let (ways, _) = ways(&forest);
    let shown = way.last().map(|recorded| recorded.dump.id);
    let at = ways.iter().position(|way| way.last().map(|recorded| recorded.dump.id) == shown).unwrap_or(0);
    let times: Vec<String> = ways.iter().map(|way| time_line(&recordings, way)).collect();
    let mut browser = Browser {
        state: &state,
        recordings: &recordings,
        tree: &way.tree.label,
        ways: &ways,
        times,
        shown: State::new(ways.len(), at),
        past: Past::default(),
    };
    let wanted = browser.browse(&mut Screen::open()?)?;
    match wanted {
        None => Ok(Ended::Done),
        Some(to) => browser.restore(&to),
    }
}

fn time_line(recordings: &Recordings, way: &Way<'_>) -> String {
    let Some(last) = way.last() else { return String::new() };
    let (date, level) = (utc(last.dump.date.secs), last.dump.level);
    format!("{date}  level {level}  {}  {}", recordings.short(last.dump.id), last.outcome())
}

/// The directory that was typed, `~` being the user's own as in a shell.
fn destination(typed: &str, home: Option<PathBuf>) -> PathBuf {
    match (typed.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(typed),
    }
}

/// How looking at one point in time ended.
enum Next {
    At(usize),
    Restore(String),
    Quit,
}

struct Browser<'b, 'r> {
    state: &'b StateDir,
    recordings: &'r Recordings,
    tree: &'b str,
    /// The points in time, the oldest first.
    ways: &'b [Way<'r>],
    times: Vec<String>,
    shown: State,
    past: Past<'r>,
}

/// Why a point in time cannot be looked at any more.
enum Stopped {
    Catalog(HostCatalogError),
    Other(CliError),
}

impl From<HostCatalogError> for Stopped {
    fn from(error: HostCatalogError) -> Self {
        Self::Catalog(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Other(CliError::failed(format!("the terminal failed: {error}")))
    }
}

impl Browser<'_, '_> {
    /// Until the user leaves; gives where to restore to, if that is wanted.
    fn browse(&mut self, screen: &mut Screen) -> Result<Option<String>, CliError> {
        // Where to go back to when there is no way on.
        let mut before = None;
        loop {
            let Some(way) = self.ways.get(self.shown.at) else {
                return Err(CliError::failed("the dump to be shown is not in the history any more"));
            };
            let ids = ids_of(way);
            let mut memory = Vec::new();
            let ended = match tree_view::open(self.state, &ids, &mut memory) {
                Ok(mut catalogs) => match self.at_point(&mut View::new(&mut catalogs), screen) {
                    Ok(next) => Ok(next),
                    Err(Stopped::Catalog(error)) => Err(tree_view::failed(self.state, &ids, &error)),
                    Err(Stopped::Other(error)) => return Err(error),
                },
                Err(error) => Err(error),
            };
            match (ended, before.take()) {
                (Ok(Next::Quit), _) => return Ok(None),
                (Ok(Next::Restore(to)), _) => return Ok(Some(to)),
                (Ok(Next::At(other)), _) => {
                    before = Some(self.shown.at);
                    self.shown.at = other;
                }
                (Err(error), Some(at)) => {
                    self.shown.at = at;
                    self.shown.notice = Some(error.to_string());
                }
                (Err(error), None) => return Err(error),
            }
        }
    }

    fn at_point(&mut self, view: &mut HostView<'_, '_>, screen: &mut Screen) -> Result<Next, Stopped> {
        let name = self.shown.current().map_or_else(Vec::new, |row| row.name.clone());
        let mut directory = self.open(view, self.shown.path.clone(), &name)?;
        let mut changed = true;
        loop {
            if screen.is_ended() {
                return Err(Stopped::Other(CliError::failed("interrupted; nothing was restored")));
            }
            if changed {
                self.fill(view, &directory, screen)?;
                let path = self.shown.current().map(|row| self.shown.path_of(&row.name));
                self.past.look_at(path);
                self.draw(screen)?;
            }
            let looking = self.past.is_looking(self.ways);
            changed = event::poll(if looking { Duration::ZERO } else { WAIT })?;
            if !changed {
                changed = self.look_back();
                continue;
            }
            let Event::Key(key) = event::read()? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match self.shown.key(key) {
                Action::None => {}
                Action::Show { path, name } => directory = self.open(view, path, &name)?,
                Action::Refresh => {
                    let name = self.shown.current().map_or_else(Vec::new, |row| row.name.clone());
                    directory = self.open(view, self.shown.path.clone(), &name)?;
                }
                Action::At(at) => return Ok(Next::At(at)),
                Action::Restore(to) => return Ok(Next::Restore(to)),
                Action::Quit => return Ok(Next::Quit),
            }
        }
    }

    /// Opens a directory, or the next one above it that there is.
    fn open(
        &mut self,
        view: &mut HostView<'_, '_>,
        mut path: Vec<u8>,
        name: &[u8],
    ) -> Result<Directory, HostCatalogError> {
        let ino = loop {
            match view.look_up(&path)? {
                Some(ino) if view.names_from(ino, b"")?.is_some() => break ino,
                _ if path.is_empty() => break Ino::ROOT,
                _ => path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            }
        };
        let (directory, selected) = Directory::open(view, ino, &self.shown.filter, name)?;
        self.shown.opened(path, directory.count, selected);
        Ok(directory)
    }

    /// Gets the rows that the screen shows.
    fn fill(
        &mut self,
        view: &mut HostView<'_, '_>,
        directory: &Directory,
        screen: &Screen,
    ) -> Result<(), Stopped> {
        let size = screen.terminal.size()?;
        self.shown.resized(draw::height(Rect::new(0, 0, size.width, size.height)));
        let wanted = self.shown.height.min(self.shown.count - self.shown.top.min(self.shown.count));
        if self.shown.rows_from != self.shown.top || self.shown.rows.len() != wanted {
            self.shown.rows = directory.rows(view, self.shown.top, wanted)?;
            self.shown.rows_from = self.shown.top;
        }
        Ok(())
    }

    fn draw(&self, screen: &mut Screen) -> io::Result<()> {
        let scene = Scene {
            tree: self.tree,
            times: &self.times,
            versions: self.past.lines(),
            looking: self.past.is_looking(self.ways),
        };
        screen.terminal.draw(|frame| draw::draw(frame, &self.shown, &scene)).map(drop)
    }

    /// Looks for versions of the selected name, for as long as a key can wait. `false`: there is nothing left to look at.
    fn look_back(&mut self) -> bool {
        let begin = Instant::now();
        let looking = self.past.is_looking(self.ways);
        while self.past.is_looking(self.ways) && begin.elapsed() < WORK {
            self.past.step(self.state, self.recordings, self.ways);
        }
        looking
    }

    /// Restores what is marked, as `tapedump restore PATHS --at ID --to DIR` does.
    fn restore(&self, to: &str) -> Result<Ended, CliError> {
        let way = self.ways.get(self.shown.at).and_then(Way::last);
        let dump = way.ok_or_else(|| CliError::failed("there is no such dump"))?;
        let to = destination(to, std::env::home_dir());
        let raw = raw::Restore {
            paths: self.shown.marks.iter().map(|path| OsString::from_vec(path.clone())).collect(),
            to: Some(to.clone()),
            from: raw::From {
                tape: Vec::new(),
                file: None,
                cartridges: raw::Cartridges { changer: None, prompt: false },
            },
            moment: Moment { at: Some(When::Dump(dump.dump.id.to_string().replace('-', ""))), of: None },
            plan: false,
            json: false,
            only: false,
            apply: false,
            base: Vec::new(),
            no_acls: false,
            ignore_qtrees: false,
            target_capabilities: TargetCapabilities::ALL,
            as_name: None,
            rename: Vec::new(),
            force: false,
            dry_run: false,
            threads: None,
            turn: raw::session::Turn { wait: false },
        };
        restore::into(&raw, &to, self.state, &Interrupt::install()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let typed = |text: &str| destination(text, Some("/home/alice".into())).display().to_string();
        assert_eq!(typed("~"), "/home/alice");
        assert_eq!(typed("~/found//x"), "/home/alice/found//x");
        assert_eq!(typed("~bob/x"), "~bob/x");
        assert_eq!(typed("/tmp/~"), "/tmp/~");
        assert_eq!(destination("~/x", None), PathBuf::from("~/x"));
    }
}
