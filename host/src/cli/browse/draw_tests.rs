use super::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tapedump_core::catalog::ObjectRow;
use tapedump_core::units::Ino;

fn state() -> State {
    let mut state = State::new(3, 2);
    state.opened(b"home".to_vec(), 3, 0);
    let row = |name: &[u8], kind: Kind, bytes: u64| Row {
        name: name.to_vec(),
        ino: Ino(5),
        directory: kind == Kind::Directory,
        object: Some(ObjectRow { size: bytes, permissions: 0o644, ..ObjectRow::new(Ino(5), kind) }),
    };
    state.rows = vec![
        row(b"alice", Kind::Directory, 512),
        row("漢字\x1b[31m".as_bytes(), Kind::File, 2048),
        Row { name: b"lost".to_vec(), ino: Ino(9), directory: false, object: None },
    ];
    state.marks.insert(b"home/alice".to_vec());
    state
}

/// The screen as text, a line for each of its lines.
fn drawn(state: &State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let times = ["2026-11-20 level 0", "2026-11-21 level 1", "2026-11-22 level 2"].map(str::to_owned);
    let versions = ["the first".to_owned(), "the second".to_owned()];
    let scene = Scene { tree: "sda1:/home", times: &times, versions: &versions, looking: false };
    terminal.draw(|frame| draw(frame, state, &scene)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

#[test]
fn names_versions_and_marks() {
    let lines = drawn(&state(), 120, 10);
    assert!(lines[0].starts_with("sda1:/home  as of 2026-11-22 level 2"), "{lines:#?}");
    assert!(lines[1].starts_with("/home   1 of 3"), "{lines:#?}");
    assert!(lines[2].starts_with("* drw-r--r--") && lines[2].contains("alice/"), "{lines:#?}");
    assert!(lines[2].contains("versions of alice"), "{lines:#?}");
    // The newest version is at the top, and no name steers the terminal.
    assert!(lines[3].contains("2.0 KiB 1970-01-01 00:00") && lines[3].ends_with("the second"), "{lines:#?}");
    assert!(lines[3].contains("\\x1b[31m") && !lines.concat().contains('\x1b'), "{lines:#?}");
    assert!(lines[4].starts_with("  ?") && lines[4].contains("lost"), "{lines:#?}");
    assert!(lines[9].starts_with("1 marked"), "{lines:#?}");
    let narrow = drawn(&state(), 40, 6);
    assert_eq!(narrow[2], "* alice/");
    assert!(!narrow.concat().contains("versions"), "{narrow:#?}");
}

#[test]
fn dialogs_lie_over_it() {
    let mut state = state();
    for (key, text) in
        [('?', "restore what is marked"), ('q', "Quit all the same"), ('r', "to: "), ('v', "as of")]
    {
        state.dialog = Dialog::None;
        let _ = state.key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
        let lines = drawn(&state, 100, 20);
        assert!(lines.iter().any(|line| line.contains(text)), "{key}: {lines:#?}");
    }
    let lines = drawn(&state, 100, 20);
    let at = |text: &str| lines[2..].iter().position(|line| line.contains(text)).unwrap();
    assert!(at("2026-11-22 level 2") < at("2026-11-20 level 0"), "the newest at the top: {lines:#?}");
}

#[test]
fn no_size_is_too_small() {
    let mut state = state();
    for dialog in [
        Dialog::None,
        Dialog::Help,
        Dialog::Filter,
        Dialog::Quit,
        Dialog::Times { chosen: 1 },
        Dialog::Times { chosen: 77 },
        Dialog::Destination { text: "x".repeat(300) },
    ] {
        state.dialog = dialog;
        for (width, height) in [(1, 1), (1, 50), (200, 1), (2, 2), (3, 3), (10, 4), (90, 5), (300, 100)] {
            state.resized(super::height(Rect::new(0, 0, width, height)));
            let _ = drawn(&state, width, height);
        }
    }
}
