//! The program as people run it: what it writes, keeps, refuses and prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of this test's own, not there yet.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if directory.exists() {
        std::fs::remove_dir_all(&directory).expect("the directory of an earlier run can go");
    }
    directory
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cordonhold-certs-dev"))
        .arg("--dir")
        .arg(directory)
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// All that it prints after the first line, which says what became of the files.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).expect("it prints text");
    let (_, rest) = text.split_once('\n').expect("it prints more than a line");
    rest.to_owned()
}

#[test]
fn a_pair_that_is_there_is_kept_and_its_commands_are_printed_again() {
    let directory = directory("kept");
    let first = printed(&run(&directory, &[]));
    let ca = std::fs::read_to_string(directory.join("ca.crt")).unwrap();
    assert!(
        first.contains(&cordonhold_certs_dev::secret_command(&directory)),
        "{first}"
    );
    assert!(first.contains(&cordonhold_certs_dev::ca_command(&ca)), "{first}");
    let key = std::fs::read(directory.join("tls.key")).unwrap();
    assert_eq!(printed(&run(&directory, &[])), first);
    assert_eq!(std::fs::read(directory.join("tls.key")).unwrap(), key);
    assert_ne!(printed(&run(&directory, &["--force"])), first);
}

/// A pair for other names, or half of one, would only fail later, in the cluster.
#[test]
fn nothing_is_kept_that_may_not_be_what_was_asked_for() {
    let directory = directory("refused");
    drop(printed(&run(&directory, &[])));
    let named = run(&directory, &["webhook.example"]);
    std::fs::remove_file(directory.join("tls.key")).unwrap();
    for output in [named, run(&directory, &[])] {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("--force"), "{said}");
    }
    drop(printed(&run(&directory, &["--force", "webhook.example"])));
}
