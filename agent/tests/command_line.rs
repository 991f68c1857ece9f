//! The program from outside: what it takes from its environment, and how it refuses. Nothing here needs an API server.

use std::process::{Command, Output};

fn agent(words: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cordonhold-agent"))
        .args(words)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the agent can be started")
}

/// The one line that the program ends with.
fn refusal(words: &[&str], variables: &[(&str, &str)]) -> String {
    let output = agent(words, variables);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("cordonhold-agent: "), "{said}");
    said
}

/// Each whose value is checked: a wrong one is named, unless the command line has the flag.
#[test]
fn d24_every_variable_of_kured_is_read_from_the_process_and_beaten_by_its_flag() {
    let mut checked = 0;
    for line in include_str!("kured-flags.tsv").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[name, kind, default, _] = &fields[..] else {
            continue;
        };
        if kind == "string" {
            continue;
        }
        let variable = format!("KURED_{}", name.to_uppercase().replace('-', "_"));
        let wrong = [(variable.as_str(), "(")];
        let said = refusal(&["--node-id=n"], &wrong);
        assert!(said.contains(&format!(": {variable}: ")), "{said}");
        checked += 1;
        // It has no default that could be given: an empty selector is refused.
        if kind == "stringArray" {
            continue;
        }
        let said = refusal(&[&format!("--{name}={default}")], &wrong);
        assert!(
            said.contains("KURED_NODE_ID") && !said.contains(&variable),
            "{said}"
        );
    }
    assert_eq!(checked, 20);
}

#[test]
fn help_tells_no_value_of_the_environment() {
    let output = agent(
        &["--help"],
        &[("KURED_NOTIFY_URL", "slack://secret/secret/secret")],
    );
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        help.contains("[env: KURED_NOTIFY_URL]") && !help.contains("secret"),
        "{help}"
    );
}
