//! Tables without lines, for people: as wide as the terminal, with long cells folded; to a file or pipe, as wide as they are.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

/// A table with this heading.
pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Table {
    let width = Table::new().width();
    of_width(heading, width)
}

/// A table that folds its cells to fit so many columns of text, or does not fold them.
fn of_width<const N: usize>(heading: [&str; N], width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(heading);
    match width {
        Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<u16>) -> Table {
        let mut table = of_width(["Queue id", "Why"], width);
        table.add_row(["0000000000007", "a long reason that goes on and on and on"]);
        table
    }

    #[test]
    fn a_terminal_is_not_overrun() {
        let text = table(Some(40)).trim_fmt();
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains("0000000000007") && text.lines().count() > 2, "{text}");
    }

    #[test]
    fn a_pipe_gets_one_line_a_row() {
        let want = "Queue id       Why\n0000000000007  a long reason that goes on and on and on";
        assert_eq!(table(None).trim_fmt(), want);
    }
}
