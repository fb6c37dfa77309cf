//! Columns of text on a terminal.

use unicode_width::UnicodeWidthStr;

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// The rows as lines, each column as wide as its widest cell. Behind the last one nothing is filled up.
pub fn lines<const N: usize>(rows: &[[String; N]], aligned: &[Align; N]) -> Vec<String> {
    let width_of = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width_of);
    let line = |row: &[String; N]| {
        let mut line = String::new();
        for ((cell, width), align) in row.iter().zip(widths).zip(aligned) {
            let room = " ".repeat(width - cell.width());
            match align {
                Align::Left => line.extend([cell, &room, "  "]),
                Align::Right => line.extend([&room, cell, "  "]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [["a", "1", "x"], ["漢字", "100", ""]].map(|row| row.map(str::to_owned));
        let lines = lines(&rows, &[Align::Left, Align::Right, Align::Left]);
        assert_eq!(lines, ["a       1  x", "漢字  100"]);
    }
}
