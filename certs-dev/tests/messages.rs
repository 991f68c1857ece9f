//! Every message that ends the program: it names the thing, what was tried, and the fix.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use std::path::Path;
use std::process::Command;

#[test]
fn found_e8_every_message_that_ends_certs_dev_names_thing_try_and_fix() {
    let dir = std::env::temp_dir().join(format!("certs-dev-messages-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(dir.join("half")).unwrap();
    std::fs::create_dir_all(dir.join("not-text")).unwrap();
    std::fs::write(dir.join("half/tls.crt"), "").unwrap();
    for name in ["ca.crt", "tls.crt", "tls.key"] {
        std::fs::write(dir.join("not-text").join(name), [0xff]).unwrap();
    }
    std::fs::write(dir.join("file"), "").unwrap();
    std::fs::create_dir_all(dir.join("blocked/ca.crt")).unwrap();
    let at = |name: &str| format!("--dir={}", dir.join(name).display());
    let table: [(i32, &[String], [&str; 3]); 8] = [
        (
            1,
            &["a b".to_owned(), at("new")],
            [
                "\"a b\"",
                "neither a DNS name nor an IP address",
                "make a DNS name",
            ],
        ),
        (1, &[at("half")], ["half/tls.crt", "exists", "--force"]),
        (
            1,
            &[at("not-text")],
            ["not-text/ca.crt", "failed to read", "--force"],
        ),
        (
            1,
            &[at("file/below")],
            ["file/below", "failed to create the directory", "--dir"],
        ),
        (
            1,
            &[at("blocked"), "--force".to_owned()],
            ["blocked/ca.crt", "failed to write", "--dir"],
        ),
        (
            2,
            &["--dir=\"\"".to_owned()],
            ["--dir", "two quote characters", "`- --dir=`"],
        ),
        (2, &["--force=yes".to_owned()], ["--force", "yes", "--help"]),
        (2, &["--forced".to_owned()], ["--forced", "unexpected", "--help"]),
    ];
    for (code, words, parts) in table {
        told(&dir, code, words, parts);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

fn told(dir: &Path, code: i32, words: &[String], parts: [&str; 3]) {
    let output = Command::new(env!("CARGO_BIN_EXE_cordonhold-certs-dev"))
        .current_dir(dir)
        .args(words)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{words:?}: {part:?} is not in {said}");
    }
}
