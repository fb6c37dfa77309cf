//! Draws the state.

use super::state::{Dialog, Marked, Row, State};
use crate::cli::list::at::mode_of;
use crate::cli::list::{mode_text, utc};
use crate::text::{printable, size};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Padding, Paragraph, Wrap};
use tapedump_core::device::volume::Kind;

/// Narrower, there is no room for versions beside the names.
const SPLIT_FROM: u16 = 90;
/// Narrower, names have the line for themselves.
const COLUMNS_FROM: u16 = 56;

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);
const MARK: Style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);
const DIRECTORY: Style = Style::new().fg(Color::Blue).add_modifier(Modifier::BOLD);

/// What is shown beside the state.
pub struct Scene<'s> {
    /// The tree.
    pub tree: &'s str,
    /// One line for each point in time, the oldest first.
    pub times: &'s [String],
    /// Versions of the selected name, the oldest first.
    pub versions: &'s [String],
    /// More of them are being looked for.
    pub looking: bool,
}

/// The parts of the screen: head, names, versions, foot.
fn parts(area: Rect) -> [Rect; 4] {
    let [head, middle, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)]).areas(area);
    if area.width < SPLIT_FROM {
        return [head, middle, Rect::default(), foot];
    }
    let [names, versions] =
        Layout::horizontal([Constraint::Percentage(56), Constraint::Percentage(44)]).areas(middle);
    [head, names, versions, foot]
}

/// Lines for names on a screen of this size.
pub fn height(area: Rect) -> usize {
    parts(area)[1].height.into()
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State, scene: &Scene<'_>) {
    let area = frame.area();
    let [head, names, versions, foot] = parts(area);
    let at = scene.times.get(state.at).map_or("", String::as_str);
    let mut place = format!("/{}", printable(&state.path));
    if !state.filter.is_empty() || state.dialog == Dialog::Filter {
        place.push_str(&format!("   filter: {}", printable(state.filter.as_bytes())));
    }
    let position = match state.count {
        0 => "   empty".into(),
        count => format!("   {} of {count}", state.selected + 1),
    };
    let title = [
        Line::from(vec![Span::styled(scene.tree, BOLD), Span::raw("  as of "), Span::raw(at)]),
        Line::from(vec![Span::styled(place, DIRECTORY), Span::styled(position, DIM)]),
    ];
    frame.render_widget(Paragraph::new(title.to_vec()), head);
    let lines: Vec<Line<'_>> = (state.rows_from..)
        .zip(&state.rows)
        .map(|(index, row)| line(state, index, row, names.width))
        .collect();
    frame.render_widget(Paragraph::new(lines), names);
    if versions.width > 0 {
        draw_versions(frame, state, scene, versions);
    }
    frame.render_widget(Paragraph::new(foot_line(state)), foot);
    draw_dialog(frame, state, scene, area);
}

fn line<'s>(state: &State, index: usize, row: &'s Row, width: u16) -> Line<'s> {
    let mark = match state.marked(&state.path_of(&row.name)) {
        Marked::No => " ",
        Marked::Itself => "*",
        Marked::Above => "+",
        Marked::Within => "-",
    };
    let mut name = printable(&row.name);
    if row.directory {
        name.push('/');
    }
    let mut spans = vec![Span::styled(mark, MARK), Span::raw(" ")];
    if width >= COLUMNS_FROM {
        spans.push(Span::styled(columns(row), DIM));
    }
    spans.push(Span::styled(name, if row.directory { DIRECTORY } else { Style::new() }));
    let line = Line::from(spans);
    if index == state.selected { line.style(SELECTED) } else { line }
}

/// Mode, size and time.
fn columns(row: &Row) -> String {
    let Some(object) = &row.object else { return format!("{:<10} {:>10} {:>16}  ", "?", "?", "?") };
    let len = match object.kind {
        Some(Kind::File | Kind::Symlink) => size(object.size),
        _ => String::new(),
    };
    // To the minute.
    let time: String = utc(object.modified.secs).chars().take(16).collect();
    format!("{} {len:>10} {time:>16}  ", mode_text(mode_of(object)))
}

fn draw_versions(frame: &mut Frame<'_>, state: &State, scene: &Scene<'_>, area: Rect) {
    let name = state.current().map_or_else(String::new, |row| printable(&row.name));
    let title = Span::styled(format!(" versions of {name} "), DIM);
    let block = Block::new().borders(Borders::LEFT).title(title).padding(Padding::left(1));
    let mut lines: Vec<Line<'_>> =
        scene.versions.iter().rev().map(|text| Line::from(text.as_str())).collect();
    if scene.looking {
        lines.insert(0, Line::styled("…", DIM));
    } else if lines.is_empty() && state.current().is_some() {
        lines.push(Line::styled("none", DIM));
    }
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn foot_line(state: &State) -> Line<'_> {
    if let Some(notice) = &state.notice {
        return Line::styled(notice.as_str(), BOLD);
    }
    let keys = match state.dialog {
        Dialog::Filter => "type to filter   Enter keep   Esc clear",
        _ => "space mark   r restore   v time   / filter   ? help   q quit",
    };
    match state.marks.len() {
        0 => Line::styled(keys, DIM),
        count => Line::from(vec![Span::styled(format!("{count} marked   "), MARK), Span::styled(keys, DIM)]),
    }
}

const HELP: &[&str] = &[
    "Up, Down, PgUp, PgDn, Home, End   move (also j, k, g, G)",
    "Enter, Right     into the directory",
    "Left, Backspace  up",
    "space            mark, or unmark; a directory brings all beneath it",
    "u                unmark all",
    "/                filter the names of this directory",
    "v                the tree at another point in time",
    "r                restore what is marked, as of the point shown",
    "q                quit",
    "",
    "*  marked    +  brought by a directory above    -  marks beneath",
];

fn draw_dialog(frame: &mut Frame<'_>, state: &State, scene: &Scene<'_>, area: Rect) {
    match &state.dialog {
        Dialog::None | Dialog::Filter => {}
        Dialog::Help => {
            let lines = HELP.iter().map(|line| Line::from(*line)).collect();
            window(frame, area, "keys", lines);
        }
        Dialog::Quit => {
            let text =
                format!("{} marked, and nothing restored yet. Quit all the same? y/n", state.marks.len());
            window(frame, area, "quit", vec![Line::from(text)]);
        }
        Dialog::Destination { text } => {
            let marked = format!("{} marked, as of {}", state.marks.len(), time(scene, state.at));
            let typed = format!("to: {}▏", printable(text.as_bytes()));
            let lines =
                vec![Line::from(marked), Line::from(typed), Line::styled("Enter restore   Esc back", DIM)];
            window(frame, area, "restore", lines);
        }
        Dialog::Times { chosen } => {
            let room = usize::from(area.height.saturating_sub(4)).max(1);
            let count = scene.times.len();
            // The newest at the top.
            let row = count.saturating_sub(1).saturating_sub(*chosen);
            let first = row.saturating_sub(room / 2).min(count.saturating_sub(room));
            let lines = scene.times.iter().rev().enumerate().skip(first).take(room);
            let lines = lines.map(|(index, text)| {
                let line = Line::from(text.as_str());
                if index == row { line.style(SELECTED) } else { line }
            });
            window(frame, area, "the tree as of", lines.collect());
        }
    }
}

fn time<'s>(scene: &'s Scene<'_>, at: usize) -> &'s str {
    scene.times.get(at).map_or("", String::as_str)
}

/// Lines in the middle of the screen, as large as they need.
fn window(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
    let widest = lines.iter().map(Line::width).max().unwrap_or(0).max(title.len() + 2);
    let width = u16::try_from(widest + 4).unwrap_or(u16::MAX).min(area.width);
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(format!(" {title} ")).padding(Padding::horizontal(1));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), place);
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
