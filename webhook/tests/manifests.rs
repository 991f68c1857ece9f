//! The manifests name in CEL what `cordonhold_shared::keys` names in Rust: these tests compare the two.
//!
//! Not here: what the expressions do, which the workspace's `tests/` try on a real API server.

use std::collections::BTreeSet;
use std::path::Path;

use cordonhold_shared::keys;

fn read(path: &str) -> String {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    std::fs::read_to_string(manifests.join(path)).expect("the manifests are beside this crate")
}

/// Every string between single quotes that looks like a key of ours.
fn quoted_keys(text: &str) -> BTreeSet<String> {
    text.split('\'')
        .filter(|part| part.starts_with("cordonhold.dev/"))
        .map(str::to_owned)
        .collect()
}

/// The part of an expression that compares marks, without indentation: both configurations share it.
fn comparison(text: &str) -> String {
    let (_, compared) = text
        .split_once("|| object.metadata.?labels")
        .expect("the comparison of the phase label");
    compared.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The part of an expression that recognises a wish, without indentation.
fn wish(text: &str) -> String {
    let (_, wish) = text.split_once("&& !(").expect("the exclusion of a wish");
    let (wish, _) = wish.split_once("cordonhold.dev/attempt").expect("its last mark");
    wish.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The keys whose changes the webhook is asked about.
fn watched() -> BTreeSet<String> {
    let all = keys::MARK_ANNOTATIONS
        .into_iter()
        .chain(keys::OWNERS_ANNOTATIONS)
        .chain([
            keys::PHASE,
            keys::REBOOTING,
            keys::CANCEL,
            keys::UNCORDON_WANTED,
            keys::AGENT,
        ]);
    all.map(str::to_owned).collect()
}

#[test]
fn every_mark_the_cancel_and_the_deferred_uncordon_are_watched_by_both_configurations() {
    let marks = watched();
    let base = read("base/webhook-configuration.yaml");
    let overlay = read("components/protect-kured/sees-every-uncordon.yaml");
    let (overlay, own_node) = overlay
        .split_once("# Uncordons by a pod on the node itself.")
        .expect("the webhook for pods on their own node");
    assert_eq!(
        quoted_keys(own_node),
        BTreeSet::from([keys::PHASE, keys::HOLDER].map(str::to_owned))
    );
    let (base, deletes) = base
        .split_once("  # A held Node that is deleted")
        .expect("the webhook for deletes");
    let (deletes, creates) = deletes
        .split_once("  # A hold is stamped by")
        .expect("the webhook for creates");
    assert_eq!(quoted_keys(base), marks);
    assert_eq!(quoted_keys(overlay), marks);
    let stamped = keys::MARK_ANNOTATIONS
        .into_iter()
        .chain([keys::PHASE, keys::REBOOTING]);
    assert_eq!(quoted_keys(creates), stamped.map(str::to_owned).collect());
    let hold = [
        keys::PHASE,
        keys::HOLDER,
        keys::UNTIL,
        keys::WAS_UNSCHEDULABLE,
        keys::ATTEMPT,
    ]
    .map(str::to_owned);
    assert_eq!(quoted_keys(deletes), BTreeSet::from(hold));
    assert_eq!(wish(base), wish(deletes));
    assert_eq!(comparison(base), comparison(overlay));
    assert!(base.contains(keys::NODE_NAME_EXTRA));
}

/// The agent is recognised in every namespace, because kustomize's `namespace:` does not reach into CEL.
const AGENT: &str = "request.userInfo.username.matches('^system:serviceaccount:[^:]+:cordonhold-agent$')";

/// Among `ServiceAccounts` with the agent's name, in whatever namespace, only the agents have the verb by which the configuration
/// recognises them; whoever may do everything has the verb `override` too, and so is not taken for an agent.
#[test]
fn found_e4_an_agent_is_told_by_a_right_that_its_role_grants() {
    let may = |verb: &str| {
        format!(
            "authorizer.group('{}').resource('{}').check('{verb}').allowed()",
            keys::OVERRIDE_GROUP,
            keys::OVERRIDE_RESOURCE
        )
    };
    let agent = format!("&& {} && !{}", may(keys::OWN_VERB), may(keys::OVERRIDE_VERB));
    for path in [
        "base/webhook-configuration.yaml",
        "components/protect-kured/sees-lock-edits.yaml",
    ] {
        let text = read(path).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(text.matches(&agent).count(), 1, "{path}: {text}");
        assert!(text.contains(&format!("!( {AGENT} &&")), "{path}: {text}");
    }
    let rights = read("base/rbac-agent.yaml");
    let rule = format!(
        "apiGroups: [{}]\n    resources: [{}]\n    verbs: [{}]",
        keys::OVERRIDE_GROUP,
        keys::OVERRIDE_RESOURCE,
        keys::OWN_VERB
    );
    assert!(rights.contains(&rule), "{rights}");
}

/// What a patch finds by its place in a list is something else after the next edit, and nothing says so.
#[test]
fn found_e4_nothing_is_replaced_by_index_or_delimiter() {
    let mut read = 0;
    for path in kustomizations(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")) {
        let text = std::fs::read_to_string(&path).expect("it is readable");
        for word in [
            "replacements:",
            "delimiter:",
            "index:",
            "ReplacementTransformer",
            "transformers:",
        ] {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
        // A patch that finds something by its place must first test its name.
        for (place, name) in [
            ("/webhooks/1/failurePolicy", "/webhooks/1/name"),
            ("/matchConditions/1\n", "/matchConditions/1/name"),
        ] {
            assert!(
                !text.contains(place) || text.contains(name),
                "{place} in {}",
                path.display()
            );
        }
        read += 1;
    }
    assert!(read > 10, "{read} files were read");
}

fn kustomizations(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).expect("it is a directory");
    entries
        .flat_map(|entry| {
            let path = entry.expect("it is readable").path();
            match path.extension() {
                _ if path.is_dir() => kustomizations(&path),
                Some(extension) if extension == "yaml" => vec![path],
                _ => Vec::new(),
            }
        })
        .collect()
}

/// The configuration does not say where kured is: the webhook finds kured's DaemonSet, which says what ServiceAccount its pods have.
#[test]
fn found_p8_e2_no_second_place_names_kured() {
    for path in [
        "components/protect-kured/sees-every-uncordon.yaml",
        "components/protect-kured/sees-lock-edits.yaml",
        "components/protect-kured/rbac-kured.yaml",
        "components/protect-kured/kustomization.yaml",
    ] {
        let text = read(path);
        for word in [
            "kube-system",
            "'kured'",
            "[kured]",
            "--ds-name",
            "request.namespace",
        ] {
            assert!(!text.contains(word), "{word} in {path}");
        }
    }
}

/// Names under `.invalid` belong to nobody and never resolve (RFC 6761), so that no image is pulled that nobody chose.
#[test]
fn found_e1_the_default_images_can_be_neither_pulled_nor_squatted() {
    let page = read("README.md");
    for (path, image) in [
        (
            "base/daemonset.yaml",
            "repository-not-set.invalid/cordonhold-agent",
        ),
        (
            "base/deployment.yaml",
            "repository-not-set.invalid/cordonhold-webhook",
        ),
    ] {
        let manifest = read(path);
        let images: Vec<&str> = manifest
            .lines()
            .filter_map(|line| line.trim().strip_prefix("image: "))
            .collect();
        let expected = format!("{image}:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(images, [expected.as_str()], "{path}");
        assert!(
            page.contains(&format!("{{name: {image}, newName: ")),
            "the page's overlay replaces {image}"
        );
    }
}

/// An agent that does not wait for volumes may not read them, and the permission for Events is a rule of its own, which can be
/// limited to one namespace.
#[test]
fn found_s14_rights_for_a_feature_come_with_it() {
    for path in ["base/rbac-agent.yaml", "base/rbac-webhook.yaml"] {
        let text = read(path);
        for resource in ["persistentvolumeclaims", "volumeattachments", "[events]"] {
            assert!(!text.contains(resource), "{resource} in {path}");
        }
    }
    let volumes = read("components/volume-detach/kustomization.yaml");
    assert!(volumes.contains("[persistentvolumeclaims]") && volumes.contains("[volumeattachments]"));
    let events = read("base/rbac-events.yaml");
    let verbs: Vec<&str> = events
        .lines()
        .filter_map(|line| line.trim().strip_prefix("verbs: "))
        .collect();
    assert_eq!(
        verbs,
        ["[create]", "[create, patch]"],
        "the agent's, then the webhook's"
    );
}

/// The rules of the `NetworkPolicy` name existing ports and pods, and never keep the API server out, whose address is not known here.
#[test]
fn found_s4_the_network_policy_keeps_pods_off_the_probes_and_nobody_off_the_reviews() {
    let (policy, deployment) = (
        read("components/network-policy/network-policy.yaml"),
        read("base/deployment.yaml"),
    );
    let label = "app.kubernetes.io/name: cordonhold-webhook";
    let (_, pods) = policy.split_once("podSelector:").expect("a selector");
    let (pods, rules) = pods.split_once("ingress:").expect("rules");
    assert!(
        pods.contains(label) && pods.contains("policyTypes: [Ingress]"),
        "{pods}"
    );
    assert!(deployment.contains(label));
    let (_, https) = rules.split_once("- port: https").expect("a rule for reviews");
    let (https, admin) = https
        .split_once("- port: admin")
        .expect("a rule for probes and metrics");
    assert!(!https.contains("from:"), "{https}");
    assert!(admin.contains("from:") && !admin.contains("- port:"), "{admin}");
    for port in ["https", "admin"] {
        assert!(deployment.contains(&format!("- name: {port}\n")), "{port}");
    }
}

/// An expression that looks at each taint exceeds its cost budget at some 70,000 taints, and then a Node's heartbeats are refused.
#[test]
fn found_s13_no_taint_is_looked_at_before_they_are_counted() {
    let exists = "spec.?taints.orValue([]).exists(";
    for (path, count) in [
        ("base/webhook-configuration.yaml", 3),
        ("components/protect-kured/sees-every-uncordon.yaml", 2),
    ] {
        let text = read(path);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut looked = 0;
        for (number, line) in lines.iter().enumerate() {
            if line.contains(exists) && line.starts_with("|| ") {
                let counted = lines[number - 1];
                assert!(counted.contains("taints.orValue([]).size()"), "{path}: {counted}");
                assert!(counted.ends_with("> 1000"), "{path}: {counted}");
                looked += 1;
            }
        }
        assert_eq!(looked, count, "{path}");
        // The one extra line is the other side of a comparison.
        assert_eq!(text.matches(exists).count(), count + 1, "{path}");
    }
}

/// The first condition keeps an agent's writes to its own Node from the webhook; the second sends all its other writes, whatever they
/// change.
#[test]
fn found_s2_every_write_of_an_agent_to_another_node_is_sent() {
    let base = read("base/webhook-configuration.yaml");
    let overlay = read("components/protect-kured/sees-every-uncordon.yaml");
    for (name, text) in [
        ("uncordons-a-held-node-or-touches-a-hold", base),
        ("uncordons-or-touches-a-hold", overlay),
    ] {
        let (_, expression) = text
            .split_once(&format!("name: {name}\n"))
            .and_then(|(_, rest)| rest.split_once("expression: >-"))
            .expect("the second condition");
        let words: Vec<&str> = expression.split_whitespace().collect();
        let expected = format!("{AGENT} || ( oldObject.");
        assert!(words.join(" ").starts_with(&expected), "{name}: {expression}");
    }
}

/// What the agent obeys beside the marks is protected only on a Node with marks, so the expression must look for every mark.
#[test]
fn found_s1_s7_what_is_the_owners_beside_the_marks_is_sent_where_there_are_marks() {
    let quoted = |keys: &[&str]| {
        let quoted: Vec<String> = keys.iter().map(|key| format!("'{key}'")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let changes = |compared: &str| {
        format!(
            "{compared} .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])"
        )
    };
    let marks = [
        keys::MARK_ANNOTATIONS.as_slice(),
        &[keys::CANCEL, keys::UNCORDON_WANTED],
    ]
    .concat();
    let base = read("base/webhook-configuration.yaml");
    let compared = comparison(
        base.split_once("  # A held Node that is deleted")
            .expect("both webhooks")
            .0,
    );
    for part in [
        changes(&quoted(&marks)),
        changes(&quoted(&keys::OWNERS_ANNOTATIONS)),
        format!(
            "{} .exists(key, oldObject.metadata.?annotations[?key].hasValue())",
            quoted(&keys::MARK_ANNOTATIONS)
        ),
        format!(
            "( object.metadata.?labels[?'{0}'].orValue('') == '{1}' && oldObject.metadata.?labels[?'{0}'].orValue('') != '{1}' )",
            keys::AGENT,
            keys::DISABLED
        ),
        format!("oldObject.metadata.?labels[?'{}'].hasValue()", keys::PHASE),
    ] {
        assert!(compared.contains(&part), "{part} is missing in: {compared}");
    }
}

/// All words of a text, separated by one space.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words of an expression, and how often the text has them.
fn count(text: &str, expression: &str) -> usize {
    words(text).matches(&words(expression)).count()
}

/// What defers in mode `defer`: the webhook sees each uncordon of a Node that may be held; the policy, which decides alone, names every mark.
#[test]
fn last_wish_webhook_and_policy_of_mode_defer_name_the_keys_that_they_decide_by() {
    let webhook = read("components/defer/webhook-configuration.yaml");
    assert_eq!(
        quoted_keys(&webhook),
        BTreeSet::from([keys::PHASE, keys::HOLDER].map(str::to_owned))
    );
    assert!(webhook.contains("path: /mutate\n") && webhook.contains("failurePolicy: Ignore\n"));
    assert!(webhook.contains("reinvocationPolicy: IfNeeded\n"));

    let policy = read("components/defer-by-policy/policy.yaml");
    assert_eq!(quoted_keys(&policy), watched());
    let guarded: Vec<String> = keys::MARK_ANNOTATIONS
        .into_iter()
        .chain([keys::CANCEL])
        .chain(keys::OWNERS_ANNOTATIONS)
        .map(|key| format!("'{key}'"))
        .collect();
    let unchanged = format!(
        "[{}] .all(key, object.metadata.?annotations[?key] == oldObject.metadata.?annotations[?key])",
        guarded.join(", ")
    );
    assert_eq!(count(&policy, &unchanged), 1);
    let taint = format!(
        "exists(t, t.key == '{}' && t.effect == '{}')",
        keys::REBOOTING,
        keys::NO_SCHEDULE
    );
    assert_eq!(count(&policy, &taint), 2, "before and after: the taint stays");
    // Nobody takes an agent's write for a stranger's.
    let base = read("base/webhook-configuration.yaml");
    let (_, agent) = base
        .split_once("- name: not-the-agent-on-its-own-node")
        .expect("the condition");
    let (agent, _) = agent.split_once("# An agent never writes").expect("its end");
    for text in [&webhook, &policy] {
        assert_eq!(count(text, agent), 1);
    }
}

/// What the policy has deferred passes with no replica running, and nothing else does: both conditions are about the same writes, and they ask
/// for the hold and the marks as the policy does.
#[test]
fn last_wish_only_what_the_policy_can_have_written_waits_for_no_replica() {
    let policy = read("components/defer-by-policy/policy.yaml");
    let patch = read("components/defer-by-policy/waits-for-no-replica.yaml");
    let expression = |after: &str| {
        let (_, rest) = patch
            .split_once(&format!("name: {after}\n"))
            .expect("the condition");
        let (_, rest) = rest.split_once("expression: >-").expect("its expression");
        words(rest.split_once("\n#").map_or(rest, |(expression, _)| expression))
    };
    let passes = expression("deferred-by-the-policy");
    assert_eq!(expression("not-deferred-by-the-policy"), format!("!( {passes} )"));
    let part = |from: &str, to: &str| {
        let (_, rest) = policy.split_once(from).expect("its beginning");
        words(rest.split_once(to).expect("its end").0)
    };
    let held = part(
        "!object.spec.?unschedulable.orValue(false)\n        && ",
        "    # A hold that was",
    );
    let unchanged = part(
        "- name: changes-no-mark\n      expression: >-",
        "    # Nobody else's",
    );
    let kept = part("- name: isKept\n      expression: >-", "    - name: asked");
    let asked = part("- name: asked\n      expression: >-", "  mutations:");
    for part in [
        held,
        unchanged,
        format!("&& !( {kept} )"),
        format!("== ({asked})"),
    ] {
        assert_eq!(count(&passes, &part), 1, "{part} in {passes}");
    }
    for alone in [
        "request.?subResource.orValue('') == ''",
        "&& object.spec.?unschedulable.orValue(false)",
        "&& object.spec.?taints == oldObject.spec.?taints",
    ] {
        assert_eq!(count(&passes, alone), 1, "{alone} in {passes}");
    }
    assert!(patch.starts_with("- op: test\n  path: /webhooks/0/name\n  value: nodes.cordonhold.dev\n"));
}

/// The components replace the first argument, and nothing says so if it is another one.
#[test]
fn last_wish_both_components_set_the_mode() {
    let deployment = read("base/deployment.yaml");
    assert!(deployment.contains("          args:\n            - --mode=enforce\n"));
    for component in ["defer", "defer-by-policy"] {
        let text = read(&format!("components/{component}/kustomization.yaml"));
        let patch = "{op: replace, path: /spec/template/spec/containers/0/args/0, value: --mode=defer}";
        assert!(text.contains(patch), "{component}");
    }
}

#[test]
fn both_lock_annotations_of_kured_are_watched() {
    let edits = read("components/protect-kured/sees-lock-edits.yaml");
    let keys = format!("['{}', '{}']", keys::KURED_LOCK, keys::KURED_V2_LOCK);
    // Two webhooks look for a change, and one of them compares the entries.
    assert_eq!(edits.matches(&keys).count(), 3);
    assert!(edits.contains(keys::NODE_NAME_EXTRA));
}

#[test]
fn the_override_role_names_the_virtual_resource() {
    let role = read("base/rbac-override.yaml");
    for word in [keys::OVERRIDE_GROUP, keys::OVERRIDE_RESOURCE, keys::OVERRIDE_VERB] {
        assert!(role.contains(&format!("[{word}]")), "{word}");
    }
}

/// The page for operators names only existing keys, all keys that people write, and each mark that is to be removed by hand.
#[test]
fn the_page_for_operators_names_the_keys_that_there_are() {
    let page = include_str!("../../OPERATING.md");
    let keys_in = |text: &str| -> BTreeSet<String> {
        text.split(keys::DOMAIN)
            .skip(1)
            .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next())
            .map(|name| name.trim_end_matches('-').to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    };
    let known = keys_in(include_str!("../../shared/src/keys.rs"));
    let named = keys_in(page);
    assert!(named.is_subset(&known), "{:?}", named.difference(&known));
    for key in [
        keys::CANCEL,
        keys::PAUSE,
        keys::KEEP_CORDONED,
        keys::AGENT,
        keys::PHASE,
    ] {
        assert!(named.contains(&key[keys::DOMAIN.len()..]), "{key}");
    }
    let by_hand = format!(
        "kubectl uncordon NAME; kubectl taint node NAME {}:{}-; kubectl label node NAME {}-; kubectl annotate node NAME {}-",
        keys::REBOOTING,
        keys::NO_SCHEDULE,
        keys::PHASE,
        keys::MARK_ANNOTATIONS.join("- ")
    );
    assert!(page.contains(&format!("`{by_hand}`")), "{by_hand}");
}
