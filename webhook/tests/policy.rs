//! The policy that the command line results in: who is exempt, and how stock kured is protected.

use clap::{CommandFactory, Parser};
use cordonhold_shared::admission::{KuredPolicy, OnDelete, OnLookupFailure, Policy, ServiceAccount};
use cordonhold_shared::keys;
use cordonhold_webhook::{Args, Config};

fn policy(flags: &[&str]) -> Policy {
    let always = [
        "cordonhold-webhook",
        "--tls-cert-file=c",
        "--tls-private-key-file=k",
    ];
    let args = Args::try_parse_from(always.iter().chain(flags)).expect("flags that are right");
    Config::from(args).policy
}

#[test]
fn nobody_is_exempt_and_nothing_of_kureds_protected_by_default() {
    let policy = policy(&[]);
    assert!(policy.exempt.users.is_empty() && policy.exempt.groups.is_empty());
    assert_eq!(policy.on_delete, OnDelete::Flag);
    assert_eq!(policy.kured, None);
}

#[test]
fn exempt_names_are_taken_as_they_are() {
    let policy = policy(&[
        "--exempt-user=CN=root,O=ops",
        "--exempt-user=other",
        "--exempt-group=g",
        "--on-delete=deny",
    ]);
    assert_eq!(policy.exempt.users, ["CN=root,O=ops", "other"]);
    assert_eq!(policy.exempt.groups, ["g"]);
    assert_eq!(policy.on_delete, OnDelete::Deny);
    let empty = [
        "w",
        "--tls-cert-file=c",
        "--tls-private-key-file=k",
        "--exempt-user=",
    ];
    assert!(
        Args::try_parse_from(empty).is_err(),
        "an empty name exempts the anonymous"
    );
}

#[test]
fn found_s12_kured_is_believed_without_a_node_by_flag_only() {
    for (flags, expected) in [
        (&["--protect-kured=lock"][..], false),
        (&["--protect-kured=marks"], false),
        (
            &["--protect-kured=lock", "--kured-token-without-node=deny"],
            false,
        ),
        (
            &["--protect-kured=lock", "--kured-token-without-node=allow"],
            true,
        ),
        (
            &["--protect-kured=marks", "--kured-token-without-node=allow"],
            true,
        ),
    ] {
        let kured = policy(flags).kured.expect("a policy for kured");
        assert_eq!(kured.is_believed_without_node, expected, "{flags:?}");
    }
}

#[test]
fn kured_is_protected_by_its_lock_or_by_its_marks() {
    let by_lock = policy(&["--protect-kured=lock"])
        .kured
        .expect("a policy for kured");
    assert_eq!(by_lock.service_account, None, "its DaemonSet says it");
    assert_eq!(
        by_lock.marks,
        [keys::KURED_REBOOT_IN_PROGRESS, keys::KURED_V2_REBOOT_IN_PROGRESS]
    );
    let lock = by_lock.lock.expect("a lock");
    assert_eq!(
        (lock.ds_namespace.as_str(), lock.ds_name.as_str()),
        ("kube-system", "kured")
    );
    assert_eq!(lock.annotations, [keys::KURED_LOCK, keys::KURED_V2_LOCK]);
    assert_eq!(lock.on_lookup_failure, OnLookupFailure::Deny);

    let elsewhere = policy(&[
        "--protect-kured=lock",
        "--ds-namespace=ops",
        "--ds-name=reboots",
        "--kured-service-account=rebooter",
        "--lock-annotation=a/x,b/y",
        "--reboot-in-progress-annotation=c/z",
        "--on-lookup-failure=allow",
    ]);
    let kured = elsewhere.kured.expect("a policy for kured");
    let user = |kured: &KuredPolicy| kured.service_account.as_ref().map(ServiceAccount::user);
    assert_eq!(
        user(&kured).as_deref(),
        Some("system:serviceaccount:ops:rebooter")
    );
    assert_eq!(kured.marks, ["c/z"]);
    let lock = kured.lock.expect("a lock");
    assert_eq!(
        (lock.ds_namespace.as_str(), lock.ds_name.as_str()),
        ("ops", "reboots")
    );
    assert_eq!(lock.annotations, ["a/x", "b/y"]);
    assert_eq!(lock.on_lookup_failure, OnLookupFailure::Allow);

    let by_marks = policy(&["--protect-kured=marks"])
        .kured
        .expect("a policy for kured");
    assert_eq!(by_marks.lock, None);
    assert_eq!(
        user(&by_marks).as_deref(),
        Some("system:serviceaccount:kube-system:kured")
    );
}

/// Each flag of these two groups is on a page, and so is `--protect-kured`.
#[test]
fn the_pages_name_the_flags_about_kured_and_who_passes() {
    let pages = [
        include_str!("../../docs/webhook.md"),
        include_str!("../../docs/stock-kured.md"),
    ]
    .concat();
    let command = Args::command();
    let headed = command.get_arguments().filter(|arg| {
        matches!(
            arg.get_help_heading(),
            Some("Who passes" | "Protection of stock kured")
        ) || arg.get_long() == Some("protect-kured")
    });
    let flags: Vec<&str> = headed.filter_map(clap::Arg::get_long).collect();
    assert_eq!(flags.len(), 11, "{flags:?}");
    for flag in flags {
        assert!(pages.contains(&format!("--{flag}")), "--{flag}");
    }
}
