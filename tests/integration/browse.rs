//! The screen that walks through catalogs, on a pseudo terminal.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use tapedump_tests::cli::{Run, Running, code};
use tapedump_tests::scratch::Scratch;
use tapedump_tests::terminal::Terminal;
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::history::{numbered, tapedump};

pub(crate) const CASES: &[Case] = &[
    Case { name: "what_is_marked_is_restored", needs: &[], run: what_is_marked_is_restored },
    Case { name: "another_point_in_time", needs: &[], run: another_point_in_time },
    Case { name: "many_names", needs: &[], run: many_names },
    Case { name: "sizes_and_signals", needs: &[], run: sizes_and_signals },
    Case { name: "the_terminal_goes_away", needs: &[], run: the_terminal_goes_away },
    Case { name: "without_a_terminal", needs: &[], run: without_a_terminal },
];

const ENTER: &str = "\r";
const DOWN: &str = "\x1b[B";
const RIGHT: &str = "\x1b[C";
const LEFT: &str = "\x1b[D";
const LEAVES_SCREEN: &str = "\x1b[?1049l";

fn tree(scratch: &Scratch) -> PathBuf {
    let tree = scratch.directory("tree");
    fs::create_dir_all(tree.join("docs/letters")).expect("made");
    fs::write(tree.join("docs/letters/first"), "first").expect("written");
    fs::write(tree.join("docs/note"), "old").expect("written");
    fs::write(tree.join("zebra"), "black and white").expect("written");
    let _ = numbered(scratch, &tree, 1, 0);
    fs::write(tree.join("docs/note"), "newer").expect("written");
    fs::remove_file(tree.join("zebra")).expect("removed");
    let _ = numbered(scratch, &tree, 2, 1);
    tree
}

fn start(scratch: &Scratch, terminal: &Terminal, arguments: &[&str]) -> Running {
    let run: Run = tapedump(scratch, arguments).env("TERM", "xterm");
    let running = terminal.given_to(run).start();
    let _ = terminal.wait_for(0, "quit");
    running
}

fn what_is_marked_is_restored() {
    let scratch = Scratch::in_memory("browse");
    let tree = tree(&scratch);
    let mut terminal = Terminal::new(120, 30);
    let running = start(&scratch, &terminal, &["browse"]);
    let at = terminal.wait_for(0, "docs/");
    // Versions of what is selected.
    terminal.type_keys(RIGHT);
    let at = terminal.wait_for(at, "letters/");
    terminal.type_keys(DOWN);
    let at = terminal.wait_for(at, "01010101");
    terminal.type_keys(LEFT);
    let at = terminal.wait_for(at, "docs/");
    // The directory, with all beneath it.
    terminal.type_keys(" r");
    let _ = terminal.wait_for(at, "to:");
    let out = scratch.join("out");
    terminal.type_keys(out.to_str().expect("text"));
    terminal.type_keys(ENTER);
    let outcome = running.wait().done();
    assert!(outcome.mentions("restored"), "{outcome}");
    let _ = terminal.wait_for(0, LEAVES_SCREEN);
    assert!(terminal.is_plain());
    Compare::EXACT.assert_equal(
        &Tree::read(&tree.join("docs")).expect("tree"),
        &Tree::read(&out.join("docs")).expect("restored"),
    );
}

fn another_point_in_time() {
    let scratch = Scratch::in_memory("browse-times");
    let _ = tree(&scratch);
    let mut terminal = Terminal::new(120, 30);
    let running = start(&scratch, &terminal, &["browse", "--at", "2099-01-01"]);
    assert!(!terminal.shown().contains("zebra"));
    terminal.type_keys("v");
    let at = terminal.wait_for(0, "tree");
    terminal.type_keys(DOWN);
    terminal.type_keys(ENTER);
    let at = terminal.wait_for(at, "zebra");
    terminal.type_keys("/zeb");
    terminal.type_keys(ENTER);
    terminal.type_keys(" q");
    let at = terminal.wait_for(at, "y/n");
    terminal.type_keys("nr");
    let _ = terminal.wait_for(at, "to:");
    let out = scratch.join("out");
    terminal.type_keys(out.to_str().expect("text"));
    terminal.type_keys(ENTER);
    let _ = running.wait().done();
    assert_eq!(fs::read(out.join("zebra")).expect("restored"), b"black and white");
    assert!(!out.join("docs").exists());
}

fn many_names() {
    let scratch = Scratch::in_memory("browse-many");
    let tree = scratch.directory("tree");
    for number in 0..20_000 {
        fs::write(tree.join(format!("file{number:05}")), "").expect("written");
    }
    let _ = numbered(&scratch, &tree, 1, 0);
    let mut terminal = Terminal::new(100, 20);
    let running = start(&scratch, &terminal, &["browse"]);
    let at = terminal.wait_for(0, "20000");
    terminal.type_keys("G");
    let at = terminal.wait_for(at, "file19999");
    terminal.type_keys("/777");
    // So many numbers have three sevens in a row.
    let _ = terminal.wait_for(at, " 38");
    terminal.type_keys(ENTER);
    terminal.type_keys("q");
    let outcome = running.wait().done();
    assert!(outcome.peak_rss_kib < 40_000, "{outcome}");
}

fn sizes_and_signals() {
    let scratch = Scratch::in_memory("browse-signals");
    let _ = tree(&scratch);
    let mut terminal = Terminal::new(120, 30);
    let running = start(&scratch, &terminal, &["browse"]);
    for (columns, rows) in [(1, 1), (1, 40), (200, 1), (3, 3), (80, 24)] {
        terminal.resize(columns, rows);
        running.signal(Signal::WINCH);
        for key in ["?", "x", "v", "\x1b", " ", "r", "\x1b", DOWN, RIGHT, LEFT] {
            terminal.type_keys(key);
            std::thread::sleep(std::time::Duration::from_millis(15));
        }
        assert!(running.is_running(), "{columns} by {rows}: {:?}", terminal.shown());
    }
    running.signal(Signal::TERM);
    let ended = running.wait().expect(code::FAILED).says("interrupted");
    assert!(ended.is_orderly().is_ok(), "{ended}");
    let _ = terminal.wait_for(0, LEAVES_SCREEN);
    assert!(terminal.is_plain());
}

fn the_terminal_goes_away() {
    let scratch = Scratch::in_memory("browse-gone");
    let _ = tree(&scratch);
    let terminal = Terminal::new(120, 30);
    let running = start(&scratch, &terminal, &["browse"]);
    drop(terminal);
    let _ = running.wait().expect(code::FAILED).says("the terminal is gone");
}

fn without_a_terminal() {
    let scratch = Scratch::in_memory("browse-pipe");
    let nothing = tapedump(&scratch, &["browse"]).outcome().expect(code::FAILED);
    let _ = nothing.says("no dumps");
    let _ = tree(&scratch);
    let refused = tapedump(&scratch, &["browse"]).outcome().expect(code::FAILED).says("needs a terminal");
    assert_eq!(refused.out(), "");
    let _ = tapedump(&scratch, &["browse", "--at", "ffff"]).outcome().expect(code::FAILED).says("ffff");
}
