//! Files that tests make of the code, for people to read: a test fails while one is out of date.
//!
//! Not here: what is in them.

/// Fails unless this file, a path from the crate's directory, has this text. With `CORDONHOLD_WRITE_MANUAL` set, it is written first. `name` is a
/// part of the test's name.
#[expect(
    clippy::disallowed_methods,
    reason = "the file is for people too, and is written anew on request"
)]
pub(crate) fn assert_written(file: &str, text: &str, name: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (is, should) in written.lines().zip(text.lines()) {
        assert_eq!(
            is, should,
            "{file} is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-shared {name}`"
        );
    }
    assert!(written == text, "{file} is out of date");
}
