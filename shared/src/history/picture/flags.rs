//! Where the labels go: each starts at what it is about, in the first row where it covers no other.
//!
//! They are placed from the right to the left. So a line from a mark to its label in a far row crosses no label in a nearer one: those
//! begin further right.
//! Not here: what is labelled.

/// The height of a row of labels.
pub(super) const ROW: f64 = 17.0;
/// Most rows of labels of one lane: more would push the lanes apart.
const ROWS_MAX: usize = 5;
/// Between a mark and its label, and between two labels.
const APART: f64 = 5.0;
/// The mean width of a character as a part of its size, a little more than in the usual fonts, so that labels stay apart in a wider one.
const WIDE: f64 = 0.58;

/// A label, and what it is about.
#[derive(Clone, Debug)]
pub(super) struct Flag {
    pub(super) x: f64,
    pub(super) text: String,
    pub(super) width: f64,
}

/// Where a label begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) x: f64,
    /// Counted from what it is about.
    pub(super) row: f64,
}

impl Flag {
    pub(super) fn new(x: f64, text: &str, size: f64) -> Flag {
        Flag {
            x,
            text: text.to_owned(),
            width: text_width(text, size),
        }
    }
}

/// The width of a text, roughly.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars()
        .map(|c| if c.is_ascii() { WIDE } else { 1.0 })
        .sum::<f64>()
        * size
}

/// The places of all labels, in the order of the flags, which is by `x`; `None` for a label that has none in the rows that there are.
pub(super) fn placed_or_dropped(flags: &[Flag], right: f64) -> Vec<Option<Place>> {
    // Where the leftmost label of each row begins.
    let mut rows: Vec<f64> = Vec::new();
    let mut places: Vec<Option<Place>> = flags
        .iter()
        .rev()
        .map(|flag| {
            let x = (flag.x + APART).min(right - flag.width);
            let end = x + flag.width + APART;
            let free = rows.iter().position(|left| end <= *left);
            let row = free.unwrap_or(rows.len());
            if row >= ROWS_MAX {
                return None;
            }
            match rows.get_mut(row) {
                Some(left) => *left = x,
                None => rows.push(x),
            }
            // No more rows than ROWS_MAX, so it is exact.
            u8::try_from(row).ok().map(|row| Place {
                x,
                row: f64::from(row),
            })
        })
        .collect();
    places.reverse();
    places
}

/// How many rows there are.
pub(super) fn rows(places: &[Option<Place>]) -> f64 {
    let rows = places.iter().flatten().map(|place| place.row + 1.0);
    rows.fold(0.0, f64::max)
}
