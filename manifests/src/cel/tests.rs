//! What must hold of the expressions whatever they are made of. What they do is tried on a real API server by the workspace's `tests/`.

use super::*;

fn text_of(name: &str) -> String {
    let definition = definitions()
        .into_iter()
        .find(|definition| definition.name == name);
    definition.expect("there is such an expression").text
}

/// Every string between single quotes that is a key of ours.
fn keys_in(text: &str) -> Vec<&str> {
    let mut keys: Vec<&str> = text
        .split('\'')
        .filter(|part| part.starts_with(keys::DOMAIN))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn sorted<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    let mut all = parts.concat();
    all.sort_unstable();
    all
}

#[test]
fn each_mark_and_what_goes_with_it_is_watched_and_left_alone_by_the_policy() {
    let marks = &[keys::MARK_ANNOTATIONS.as_slice(), &[keys::PHASE, keys::REBOOTING]].concat();
    let watched = sorted(&[
        marks,
        &keys::OWNERS_ANNOTATIONS,
        &[
            keys::CANCEL,
            keys::REBOOT_WANTED,
            keys::UNCORDON_WANTED,
            keys::AGENT,
        ],
    ]);
    for name in [
        "uncordons-a-held-node-or-touches-a-hold",
        "uncordons-or-touches-a-hold",
    ] {
        let asked = sorted(&[&watched, &[keys::PROBE]]);
        assert_eq!(keys_in(&text_of(name)), asked, "{name}");
    }
    assert_eq!(
        keys_in(&text_of("creates-a-node-with-a-mark")),
        sorted(&[marks, &[keys::REBOOT_WANTED]])
    );
    let policy = definitions()
        .into_iter()
        .skip_while(|definition| definition.name != "not-an-agent-elsewhere-and-a-name-that-can-be-kept")
        .take_while(|definition| definition.name != "not-deferred-by-the-policy");
    let policy: String = policy.map(|definition| definition.text).collect();
    assert_eq!(keys_in(&policy), watched);
}

/// An agent is never kept waiting for its own Node, and everything that it writes elsewhere is sent, whatever it changes.
#[test]
fn found_s2_every_write_of_an_agent_to_another_node_is_sent() {
    for name in [
        "uncordons-a-held-node-or-touches-a-hold",
        "uncordons-or-touches-a-hold",
    ] {
        let expected = format!("{}\n|| (", has_the_agents_name());
        assert!(text_of(name).starts_with(&expected), "{name}");
    }
}

/// An expression that looks at each taint exceeds its cost budget at some 70,000 taints, and then a Node's heartbeats are refused.
#[test]
fn found_s13_no_taint_is_looked_at_before_they_are_counted() {
    let mut looked = 0;
    for Definition { name, text } in definitions() {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let is_the_other_side = line.starts_with("!= ") || line.starts_with("== ");
            if line.contains("taints.orValue([]).exists(") && !is_the_other_side {
                let before = lines[number - 1];
                assert!(
                    before.contains(".size()") && before.ends_with(" 1000"),
                    "{name}: {before}"
                );
                looked += 1;
            }
        }
    }
    assert_eq!(looked, 10);
}

/// What the policy has deferred passes with no replica running, and nothing else does.
#[test]
fn last_wish_only_what_the_policy_can_have_written_waits_for_no_replica() {
    let passes = text_of("deferred-by-the-policy");
    assert_eq!(text_of("not-deferred-by-the-policy"), not(&passes));
    for part in [
        text_of("changes-no-mark"),
        not(&text_of("is-kept")),
        format!("== ({})", text_of("asked")),
    ] {
        assert!(passes.contains(&part), "{part} in {passes}");
    }
    let held = text_of("uncordons-a-node-that-is-held-by-marks-that-can-be-read");
    let held = held.split("\n&& ").skip(2);
    assert!(held.clone().count() > 4);
    for part in held {
        assert!(passes.contains(part), "{part} in {passes}");
    }
}

/// A mark that is added later is guarded by the policy too, and what it tells people to remove are all marks.
#[test]
fn the_policy_guards_each_mark_and_prints_the_way_out_for_each() {
    let guarded = [keys::MARK_ANNOTATIONS.as_slice(), &[keys::PHASE, keys::REBOOTING]].concat();
    for name in ["change-variables", "created-hold-validations"] {
        let text = text_of(name);
        for key in &guarded {
            assert!(text.contains(&format!("'{key}'")), "{name}: {key}");
        }
    }
    let told = text_of("hold-variables");
    for key in guarded {
        assert!(
            told.contains(&format!(" {key}-")) || told.contains(&format!(" {key}:NoSchedule-")),
            "{key}: {told}"
        );
    }
}

/// The policy has nobody to ask about a time that it cannot read: on the leap day a wish would count as held.
#[test]
fn a_time_is_read_on_every_day_of_the_calendar() {
    let time = regex_lite::Regex::new(&format!("^{TIME}$")).expect("a pattern");
    for (day, is_one) in [
        ("2028-02-29", true),
        ("2096-02-29", true),
        ("2000-02-29", true),
        ("2400-02-29", true),
        ("2027-02-29", false),
        ("2100-02-29", false),
        ("2028-02-30", false),
        ("2028-04-31", false),
        ("2028-12-31", true),
    ] {
        assert_eq!(
            time.is_match(&format!("{day}T00:00:00.123456789Z")),
            is_one,
            "{day}"
        );
    }
}
