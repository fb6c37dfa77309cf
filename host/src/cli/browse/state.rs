//! What the screen shows, and what keys do to it. Pure: it neither reads catalogs nor draws.

use crate::text::printable;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::BTreeSet;
use tapedump_core::catalog::ObjectRow;
use tapedump_core::units::Ino;

/// A name in the directory shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub name: Vec<u8>,
    pub ino: Ino,
    pub directory: bool,
    /// What is known of it; `None`: no dump holds it.
    pub object: Option<ObjectRow>,
}

/// What lies over the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialog {
    None,
    Help,
    /// The filter is being typed.
    Filter,
    /// Another point in time is being chosen: the number of a dump, from the oldest.
    Times {
        chosen: usize,
    },
    /// Where to restore to is being typed.
    Destination {
        text: String,
    },
    /// Whether to leave, although there are marks.
    Quit,
}

/// What is to be done outside of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    None,
    /// Show the directory of this path; the name in it is selected.
    Show {
        path: Vec<u8>,
        name: Vec<u8>,
    },
    /// Show the same directory anew: the filter is another one.
    Refresh,
    /// Show the tree as of this dump.
    At(usize),
    /// Restore the marked paths to this directory.
    Restore(String),
    Quit,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct State {
    /// The directory shown: its path from the root, without a slash at either end.
    pub path: Vec<u8>,
    /// Names in it, as far as they pass the filter.
    pub count: usize,
    /// Those from `rows_from` on, as many as are shown.
    pub rows: Vec<Row>,
    pub rows_from: usize,
    /// The first one on the screen, and the one that keys are about.
    pub top: usize,
    pub selected: usize,
    /// Lines for names.
    pub height: usize,
    pub filter: String,
    /// Paths to be restored; what is beneath a marked directory is, too.
    pub marks: BTreeSet<Vec<u8>>,
    pub dialog: Dialog,
    /// A message for the user, until the next key.
    pub notice: Option<String>,
    /// How many points in time there are, and which one is shown.
    pub times: usize,
    pub at: usize,
}

/// Whether a path is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    No,
    Itself,
    /// A directory above it is.
    Above,
    /// Something beneath it is.
    Within,
}

impl State {
    pub fn new(times: usize, at: usize) -> Self {
        Self {
            path: Vec::new(),
            count: 0,
            rows: Vec::new(),
            rows_from: 0,
            top: 0,
            selected: 0,
            height: 1,
            filter: String::new(),
            marks: BTreeSet::new(),
            dialog: Dialog::None,
            notice: None,
            times,
            at,
        }
    }

    /// The row that keys are about.
    pub fn current(&self) -> Option<&Row> {
        self.rows.get(self.selected.checked_sub(self.rows_from)?)
    }

    /// The path of a name in the directory shown.
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        match self.path.as_slice() {
            [] => name.to_vec(),
            path => [path, b"/", name].concat(),
        }
    }

    pub fn marked(&self, path: &[u8]) -> Marked {
        let above = |path: &[u8]| {
            let cuts = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
            cuts.filter_map(|at| path.get(..at)).any(|above| self.marks.contains(above))
        };
        if self.marks.contains(path) {
            Marked::Itself
        } else if above(path) {
            Marked::Above
        } else if self.beneath(path).next().is_some() {
            Marked::Within
        } else {
            Marked::No
        }
    }

    /// Marks beneath a directory.
    fn beneath<'s>(&'s self, path: &[u8]) -> impl Iterator<Item = &'s Vec<u8>> + use<'s> {
        let prefix = [path, b"/"].concat();
        self.marks.range(prefix.clone()..).take_while(move |mark| mark.starts_with(&prefix))
    }

    /// The directory has so many names now; the `selected`th of them is to be selected.
    pub fn opened(&mut self, path: Vec<u8>, count: usize, selected: usize) {
        self.path = path;
        self.count = count;
        self.rows.clear();
        self.rows_from = 0;
        self.top = 0;
        self.select(selected);
    }

    /// So many lines are there for names now.
    pub fn resized(&mut self, height: usize) {
        self.height = height.max(1);
        self.select(self.selected);
    }

    fn select(&mut self, index: usize) {
        self.selected = index.min(self.count.saturating_sub(1));
        let lowest = (self.selected + 1).saturating_sub(self.height);
        self.top = self.top.clamp(lowest, self.selected);
    }

    /// What a key does.
    pub fn key(&mut self, key: KeyEvent) -> Action {
        self.notice = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match (key.code, &mut self.dialog) {
                (KeyCode::Char('c'), _) => Action::Quit,
                (KeyCode::Char('u'), Dialog::Destination { text }) => {
                    text.clear();
                    Action::None
                }
                (KeyCode::Char('u'), Dialog::Filter) => {
                    self.filter.clear();
                    Action::Refresh
                }
                _ => Action::None,
            };
        }
        match self.dialog.clone() {
            Dialog::None => self.key_in_listing(key.code),
            Dialog::Help => {
                self.dialog = Dialog::None;
                Action::None
            }
            Dialog::Filter => self.key_in_filter(key.code),
            Dialog::Times { chosen } => self.key_in_times(key.code, chosen),
            Dialog::Destination { text } => self.key_in_destination(key.code, text),
            Dialog::Quit => {
                self.dialog = Dialog::None;
                if matches!(key.code, KeyCode::Char('y' | 'Y' | 'q')) { Action::Quit } else { Action::None }
            }
        }
    }

    fn key_in_listing(&mut self, code: KeyCode) -> Action {
        let page = self.height.saturating_sub(1).max(1);
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected + 1),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(page)),
            KeyCode::PageDown => self.select(self.selected.saturating_add(page)),
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(usize::MAX),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => return self.enter(),
            KeyCode::Left | KeyCode::Backspace | KeyCode::Char('h') => return self.leave(),
            KeyCode::Char(' ') => self.toggle(),
            KeyCode::Char('u') => self.unmark_all(),
            KeyCode::Char('/') => self.dialog = Dialog::Filter,
            KeyCode::Char('v') => self.dialog = Dialog::Times { chosen: self.at },
            KeyCode::Char('r') => self.ask_destination(),
            KeyCode::Char('?') => self.dialog = Dialog::Help,
            KeyCode::Esc if !self.filter.is_empty() => {
                self.filter.clear();
                return Action::Refresh;
            }
            KeyCode::Char('q') if self.marks.is_empty() => return Action::Quit,
            KeyCode::Char('q') => self.dialog = Dialog::Quit,
            _ => {}
        }
        Action::None
    }

    fn enter(&mut self) -> Action {
        match self.current() {
            Some(row) if row.directory => {
                let path = self.path_of(&row.name);
                self.filter.clear();
                Action::Show { path, name: Vec::new() }
            }
            _ => Action::None,
        }
    }

    fn leave(&mut self) -> Action {
        if self.path.is_empty() {
            return Action::None;
        }
        self.filter.clear();
        let cut = self.path.iter().rposition(|byte| *byte == b'/');
        let (path, name) = match cut {
            Some(at) => {
                (self.path.get(..at).unwrap_or_default(), self.path.get(at + 1..).unwrap_or_default())
            }
            None => (&[][..], self.path.as_slice()),
        };
        Action::Show { path: path.to_vec(), name: name.to_vec() }
    }

    fn toggle(&mut self) {
        let Some(row) = self.current() else { return };
        let path = self.path_of(&row.name);
        match self.marked(&path) {
            Marked::Itself => _ = self.marks.remove(&path),
            Marked::Above => {
                self.notice = Some("a directory above is marked, and brings this: unmark that one".into());
                return;
            }
            Marked::No | Marked::Within => {
                // It brings all of these.
                let beneath: Vec<Vec<u8>> = self.beneath(&path).cloned().collect();
                beneath.iter().for_each(|mark| _ = self.marks.remove(mark));
                self.marks.insert(path);
            }
        }
        self.select(self.selected + 1);
    }

    fn unmark_all(&mut self) {
        self.notice = Some(format!("{} unmarked", self.marks.len()));
        self.marks.clear();
    }

    fn ask_destination(&mut self) {
        if self.marks.is_empty() {
            self.notice = Some("nothing is marked: mark with space what is to be restored".into());
        } else {
            self.dialog = Dialog::Destination { text: String::new() };
        }
    }

    fn key_in_filter(&mut self, code: KeyCode) -> Action {
        match code {
            KeyCode::Enter => {
                self.dialog = Dialog::None;
                return Action::None;
            }
            KeyCode::Esc => {
                self.dialog = Dialog::None;
                self.filter.clear();
            }
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Char(c) => self.filter.push(c),
            _ => return Action::None,
        }
        Action::Refresh
    }

    fn key_in_times(&mut self, code: KeyCode, chosen: usize) -> Action {
        let last = self.times.saturating_sub(1);
        // The newest is at the top.
        let chosen = match code {
            KeyCode::Up | KeyCode::Char('k') => chosen.saturating_add(1).min(last),
            KeyCode::Down | KeyCode::Char('j') => chosen.saturating_sub(1),
            KeyCode::PageUp => chosen.saturating_add(10).min(last),
            KeyCode::PageDown => chosen.saturating_sub(10),
            KeyCode::Home | KeyCode::Char('g') => last,
            KeyCode::End | KeyCode::Char('G') => 0,
            KeyCode::Enter => {
                self.dialog = Dialog::None;
                return if chosen == self.at { Action::None } else { Action::At(chosen) };
            }
            KeyCode::Esc | KeyCode::Char('q' | 'v') => {
                self.dialog = Dialog::None;
                return Action::None;
            }
            _ => chosen,
        };
        self.dialog = Dialog::Times { chosen };
        Action::None
    }

    fn key_in_destination(&mut self, code: KeyCode, mut text: String) -> Action {
        match code {
            KeyCode::Enter if !text.is_empty() => {
                self.dialog = Dialog::None;
                return Action::Restore(text);
            }
            KeyCode::Esc => {
                self.dialog = Dialog::None;
                return Action::None;
            }
            KeyCode::Backspace => _ = text.pop(),
            KeyCode::Char(c) => text.push(c),
            _ => {}
        }
        self.dialog = Dialog::Destination { text };
        Action::None
    }

    /// Whether a name passes the filter: it has it somewhere, whatever the case of its letters.
    pub fn passes(filter: &str, name: &[u8]) -> bool {
        filter.is_empty() || printable(name).to_lowercase().contains(&filter.to_lowercase())
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
