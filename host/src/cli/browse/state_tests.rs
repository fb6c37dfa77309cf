use super::*;

fn press(state: &mut State, keys: &str) -> Action {
    let mut action = Action::None;
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '<' => KeyCode::Left,
            '>' => KeyCode::Right,
            '^' => KeyCode::Up,
            '_' => KeyCode::Down,
            '!' => KeyCode::Esc,
            '~' => KeyCode::Backspace,
            c => KeyCode::Char(c),
        };
        action = state.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    action
}

/// A state that shows a directory of `count` names, of which every third is a directory, as the window would be filled.
fn showing(path: &str, count: usize, height: usize) -> State {
    let mut state = State::new(5, 4);
    state.resized(height);
    state.opened(path.as_bytes().to_vec(), count, 0);
    fill(&mut state);
    state
}

fn fill(state: &mut State) {
    state.rows_from = state.top;
    state.rows = (state.top..state.count.min(state.top + state.height))
        .map(|index| Row {
            name: format!("n{index}").into_bytes(),
            ino: Ino(index as u32 + 10),
            directory: index % 3 == 0,
            object: None,
        })
        .collect();
}

#[test]
fn the_window_follows_the_selection() {
    let mut state = showing("", 100_000, 20);
    let _ = press(&mut state, "jjj");
    assert_eq!((state.top, state.selected), (0, 3));
    let _ = state.key(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
    assert_eq!((state.top, state.selected), (99_980, 99_999));
    let _ = state.key(KeyEvent::new(KeyCode::PageUp, KeyModifiers::NONE));
    assert_eq!((state.top, state.selected), (99_980, 99_980));
    let _ = press(&mut state, "^");
    assert_eq!((state.top, state.selected), (99_979, 99_979));
    let _ = press(&mut state, "g^");
    assert_eq!((state.top, state.selected), (0, 0));
    // Whatever size the terminal gets.
    for height in [0, 1, 2, 1000, usize::MAX] {
        let _ = press(&mut state, "G");
        state.resized(height);
        assert!(state.top <= state.selected && state.selected - state.top < state.height, "{height}");
    }
    let mut empty = showing("", 0, 20);
    assert_eq!(press(&mut empty, "jkgG \n_^>"), Action::None);
    assert_eq!((empty.top, empty.selected, empty.current()), (0, 0, None));
}

#[test]
fn into_directories_and_up() {
    let mut state = showing("a/b", 5, 20);
    assert_eq!(press(&mut state, "j\n"), Action::None, "n1 is none");
    let into = Action::Show { path: b"a/b/n3".to_vec(), name: Vec::new() };
    assert_eq!(press(&mut state, "jj>"), into);
    assert_eq!(press(&mut state, "<"), Action::Show { path: b"a".to_vec(), name: b"b".to_vec() });
    state.path = b"a".to_vec();
    assert_eq!(press(&mut state, "~"), Action::Show { path: Vec::new(), name: b"a".to_vec() });
    state.path.clear();
    assert_eq!(press(&mut state, "~<h"), Action::None);
}

#[test]
fn marks_of_directories_bring_what_is_beneath() {
    let mut state = showing("a", 5, 20);
    let _ = press(&mut state, "j ");
    assert_eq!(state.marks.iter().map(Vec::as_slice).collect::<Vec<_>>(), [b"a/n1"]);
    assert_eq!(state.selected, 2, "on to the next one");
    state.opened(Vec::new(), 2, 0);
    state.rows = vec![Row { name: b"a".to_vec(), ino: Ino(3), directory: true, object: None }];
    assert_eq!(state.marked(b"a"), Marked::Within);
    assert_eq!(state.marked(b"a/n1"), Marked::Itself);
    assert_eq!(state.marked(b"a/n10"), Marked::No);
    let _ = press(&mut state, " ");
    assert_eq!(state.marks.iter().map(Vec::as_slice).collect::<Vec<_>>(), [b"a"]);
    assert_eq!(state.marked(b"a/n1"), Marked::Above);
    assert_eq!(state.marked(b"ab"), Marked::No);
    // Within it, nothing can be left out.
    let mut within = showing("a", 5, 20);
    within.marks = state.marks.clone();
    let _ = press(&mut within, " ");
    assert!(within.notice.as_deref().unwrap().contains("above"));
    assert_eq!((within.marks.len(), within.selected), (1, 0));
    let _ = press(&mut within, "u");
    assert!(within.marks.is_empty() && within.notice.is_some());
}

#[test]
fn leaving_asks_when_there_are_marks() {
    let mut state = showing("", 5, 20);
    assert_eq!(press(&mut state, "q"), Action::Quit);
    let _ = press(&mut state, " ");
    assert_eq!(press(&mut state, "q"), Action::None);
    assert_eq!(state.dialog, Dialog::Quit);
    assert_eq!(press(&mut state, "n"), Action::None);
    assert_eq!(press(&mut state, "qy"), Action::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.key(interrupt), Action::Quit);
}

#[test]
fn restoring_asks_for_marks_and_a_place() {
    let mut state = showing("", 5, 20);
    assert_eq!(press(&mut state, "r"), Action::None);
    assert!(state.notice.as_deref().unwrap().contains("space"));
    let _ = press(&mut state, " r");
    assert_eq!(press(&mut state, "\n"), Action::None, "no place yet");
    assert_eq!(press(&mut state, "/tmp/x~y"), Action::None);
    assert_eq!(state.dialog, Dialog::Destination { text: "/tmp/y".into() });
    assert_eq!(press(&mut state, "\n"), Action::Restore("/tmp/y".into()));
    let _ = press(&mut state, "rabc");
    let _ = state.key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
    assert_eq!(state.dialog, Dialog::Destination { text: String::new() });
    assert_eq!(press(&mut state, "!"), Action::None);
    assert_eq!(state.dialog, Dialog::None);
    assert_eq!(state.marks.len(), 1);
}

#[test]
fn filters_and_times() {
    let mut state = showing("", 5, 20);
    assert_eq!(press(&mut state, "/q"), Action::Refresh);
    assert_eq!((state.filter.as_str(), &state.dialog), ("q", &Dialog::Filter));
    assert_eq!(press(&mut state, "\n"), Action::None);
    assert_eq!(press(&mut state, "!"), Action::Refresh);
    assert_eq!(state.filter, "");
    assert!(State::passes("LET", b"my letter") && !State::passes("x", b"my letter"));
    assert!(State::passes("ÄR", "bär".as_bytes()));
    // The newest, which is shown, is at the top.
    let _ = press(&mut state, "v");
    assert_eq!(state.dialog, Dialog::Times { chosen: 4 });
    assert_eq!(press(&mut state, "^^\n"), Action::None, "it is the one shown");
    assert_eq!(press(&mut state, "v__\n"), Action::At(2));
    assert_eq!(press(&mut state, "vG\n"), Action::At(0));
    assert_eq!(press(&mut state, "v_!"), Action::None);
    assert_eq!(press(&mut state, "?x"), Action::None);
    assert_eq!(state.dialog, Dialog::None);
}
