//! Tests of every problem: its text, who is named as the last writer, and whether it makes the webhook unready.

use super::*;

const NOW: &str = "2026-11-28T02:41:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn validity(from: i64, to: i64) -> Validity {
    Validity {
        from: time(NOW) + hours(from),
        to: time(NOW) + hours(to),
    }
}

fn dns(name: &str) -> Name {
    Name::Dns(name.to_owned())
}

/// A certificate for the Service, valid for a year.
fn certificate() -> Certificate {
    Certificate {
        version: 3,
        names: vec![dns("cordonhold-webhook.cordonhold.svc")],
        is_for_servers: true,
        validity: validity(-1, 24 * 365),
    }
}

fn webhook(name: &str, ca: Ca) -> Webhook {
    Webhook {
        name: name.to_owned(),
        asks: dns("cordonhold-webhook.cordonhold.svc"),
        ca,
        has_conditions: true,
    }
}

fn signed() -> Ca {
    Ca::Signed(vec![validity(-1, 24 * 365)])
}

fn present(webhooks: Vec<Webhook>) -> Configuration {
    Configuration::Present {
        webhooks,
        writes: Vec::new(),
        mutates: None,
    }
}

fn found(certificate: &Certificate, configuration: &Configuration) -> Vec<Finding> {
    found_on(&Server::default(), certificate, configuration)
}

fn found_on(server: &Server, certificate: &Certificate, configuration: &Configuration) -> Vec<Finding> {
    let installation = Installation {
        configuration: "cordonhold".to_owned(),
        namespace: "cordonhold".to_owned(),
    };
    findings(certificate, configuration, server, &installation, time(NOW))
}

/// The only problem found, and whether it makes the webhook unready.
fn only(found: &[Finding]) -> (Problem, bool) {
    let [finding] = found else {
        panic!("not one finding: {found:?}")
    };
    (finding.problem, finding.blocks)
}

#[test]
fn nothing_is_wrong_with_a_good_certificate() {
    for configuration in [
        Configuration::Unread,
        present(vec![webhook("n", signed())]),
        present(vec![webhook("n", Ca::Unknown)]),
        present(Vec::new()),
    ] {
        assert_eq!(found(&certificate(), &configuration), [], "{configuration:?}");
    }
}

#[test]
fn found_p9_a_certificate_that_the_api_server_refuses_makes_unready() {
    let good = certificate();
    for (certificate, problem, says) in [
        (
            Certificate {
                names: Vec::new(),
                ..good.clone()
            },
            Problem::CertificateWithoutNames,
            "anew for cordonhold-webhook.cordonhold.svc",
        ),
        (
            Certificate {
                names: vec![dns("other.cordonhold.svc")],
                ..good.clone()
            },
            Problem::CertificateForOtherName,
            "is for other.cordonhold.svc, and the API server expects the name cordonhold-webhook.cordonhold.svc (n)",
        ),
        (
            Certificate {
                version: 1,
                names: Vec::new(),
                ..good.clone()
            },
            Problem::CertificateVersion1,
            "X.509 version 1",
        ),
        (
            Certificate {
                is_for_servers: false,
                ..good.clone()
            },
            Problem::CertificateNotForServers,
            "serverAuth",
        ),
        (
            Certificate {
                validity: validity(2, 48),
                ..good.clone()
            },
            Problem::CertificateNotYetValid,
            "from 2026-11-28T04:41:00Z on, in 2 h",
        ),
        (
            Certificate {
                validity: validity(-72, -48),
                ..good.clone()
            },
            Problem::CertificateEnded,
            "ended 2026-11-26T02:41:00Z, 2 d ago: issue it anew and put it into its Secret, without a restart: kubectl -n cordonhold create secret tls cordonhold-webhook-tls --cert=tls.crt --key=tls.key --dry-run=client -o yaml | kubectl apply -f -",
        ),
    ] {
        let configuration = present(vec![webhook("n", signed())]);
        let found: Vec<Finding> = found(&certificate, &configuration)
            .into_iter()
            .filter(|finding| finding.blocks)
            .collect();
        assert_eq!(only(&found), (problem, true));
        assert!(found[0].text.contains(says), "{}", found[0].text);
    }
}

#[test]
fn found_p9_names_match_as_in_go() {
    let localhost = |text: &str| Name::Ip(text.parse().unwrap());
    for (own, asked, matches) in [
        (dns("a.b.svc"), dns("a.b.svc"), true),
        (dns("A.b.SVC"), dns("a.B.svc"), true),
        (dns("*.b.svc"), dns("a.b.svc"), true),
        (dns("*.svc"), dns("a.b.svc"), false),
        (dns("*"), dns("a"), false),
        (dns("a.b"), dns("a.b.svc"), false),
        (dns("a.b.svc"), dns("a.b.svc."), true),
        (localhost("127.0.0.1"), localhost("127.0.0.1"), true),
        (localhost("::1"), localhost("0:0::1"), true),
        (dns("127.0.0.1"), localhost("127.0.0.1"), false),
    ] {
        assert_eq!(own.covers(&asked), matches, "{own:?} {asked:?}");
    }
}

#[test]
fn found_e5_the_end_is_told_30_7_and_1_days_before_and_when_it_comes() {
    let day = hours(24);
    let second = SignedDuration::from_secs(1);
    for (left, stage, problem) in [
        (day * 30 + second, Left::Enough, None),
        (day * 30, Left::Days30, Some(Problem::CertificateEndsIn30Days)),
        (
            day * 7 + second,
            Left::Days30,
            Some(Problem::CertificateEndsIn30Days),
        ),
        (day * 7, Left::Days7, Some(Problem::CertificateEndsIn7Days)),
        (day + second, Left::Days7, Some(Problem::CertificateEndsIn7Days)),
        (day, Left::Day1, Some(Problem::CertificateEndsIn1Day)),
        (second, Left::Day1, Some(Problem::CertificateEndsIn1Day)),
        (
            SignedDuration::ZERO,
            Left::Nothing,
            Some(Problem::CertificateEnded),
        ),
        (-day, Left::Nothing, Some(Problem::CertificateEnded)),
    ] {
        let to = time(NOW) + left;
        assert_eq!(Left::until(to, time(NOW)), stage, "{left}");
        let mut certificate = certificate();
        certificate.validity.to = to;
        let found = found(&certificate, &Configuration::Unread);
        assert_eq!(found.first().map(|finding| finding.problem), problem, "{left}");
        for finding in found {
            // The date and the command.
            assert_eq!(finding.blocks, problem == Some(Problem::CertificateEnded));
            assert!(finding.text.contains(&to.to_string()), "{}", finding.text);
            assert!(finding.text.contains("--dry-run=client"), "{}", finding.text);
        }
    }
}

#[test]
fn found_p9_a_ca_that_is_of_no_use_to_any_webhook_makes_unready() {
    let good = webhook("a", signed());
    for (ca, problem, is_of_no_use) in [
        (Ca::Stranger, Problem::CaIsAnother, true),
        (Ca::Unreadable("no PEM".to_owned()), Problem::CaUnreadable, true),
        (Ca::Signed(vec![validity(-9, -1)]), Problem::CaEnded, true),
        (Ca::Signed(vec![validity(1, 9_999)]), Problem::CaNotYetValid, true),
        // Written after the pods are there, so it must not keep them from being ready.
        (Ca::Missing, Problem::CaMissing, false),
        (Ca::Signed(vec![validity(-1, 24)]), Problem::CaEndsIn1Day, false),
        (Ca::Signed(vec![validity(-1, 25)]), Problem::CaEndsIn7Days, false),
        (
            Ca::Signed(vec![validity(-1, 24 * 30)]),
            Problem::CaEndsIn30Days,
            false,
        ),
    ] {
        let both = present(vec![webhook("a", ca.clone()), webhook("b", ca.clone())]);
        let told = found(&certificate(), &both);
        assert_eq!(only(&told), (problem, is_of_no_use));
        assert!(
            told[0]
                .text
                .contains("caBundle of a, b in the configuration cordonhold "),
            "{}",
            told[0].text
        );
        // While one webhook works, a problem of another does not make the pod unready.
        let one = present(vec![good.clone(), webhook("b", ca)]);
        assert_eq!(only(&found(&certificate(), &one)), (problem, false));
    }
    // Old and new CA side by side, as during a rotation.
    let overlap = Ca::Signed(vec![validity(-9, -1), validity(-1, 24 * 365)]);
    assert_eq!(found(&certificate(), &present(vec![webhook("a", overlap)])), []);
}

fn write(manager: &str, at: &str, ca_of: &[&str]) -> Write {
    Write {
        manager: manager.to_owned(),
        operation: "Apply".to_owned(),
        at: Some(time(at)),
        ca_of: ca_of.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[test]
fn found_e3_who_took_the_ca_away_or_wrote_another_is_named() {
    let kubectl = write("kubectl-patch", "2026-11-28T01:00:00Z", &["n"]);
    let flux = write("kustomize-controller", "2026-11-28T02:00:00Z", &[]);
    let text = |ca, writes: &[&Write]| {
        let configuration = Configuration::Present {
            webhooks: vec![webhook("n", ca)],
            writes: writes.iter().map(|write| (*write).clone()).collect(),
            mutates: None,
        };
        found(&certificate(), &configuration).remove(0).text
    };
    let gone = text(Ca::Missing, &[&write("helm", "2026-01-01T00:00:00Z", &[]), &flux]);
    let says = "the configuration was last written by the field manager \"kustomize-controller\" (Apply) at 2026-11-28T02:00:00Z";
    assert!(gone.contains(says), "{gone}");
    let another = text(Ca::Stranger, &[&kubectl, &flux]);
    let says = "it was written by the field manager \"kubectl-patch\" (Apply) at 2026-11-28T01:00:00Z";
    assert!(another.contains(says), "{another}");
    // The fix is a command.
    for text in [gone, another, text(Ca::Missing, &[])] {
        assert!(text.contains("kubectl patch $kind cordonhold"), "{text}");
    }
}

#[test]
fn found_e3_a_configuration_that_is_gone_or_unreadable_is_told_and_changes_nothing() {
    for (configuration, problem) in [
        (Configuration::Missing, Problem::ConfigurationMissing),
        (
            Configuration::Unreadable("forbidden".to_owned()),
            Problem::ConfigurationUnreadable,
        ),
    ] {
        assert_eq!(only(&found(&certificate(), &configuration)), (problem, false));
    }
}

#[test]
fn every_problem_has_a_code_of_its_own() {
    let codes: std::collections::BTreeSet<&str> = Problem::ALL.iter().map(|problem| problem.code()).collect();
    assert_eq!(codes.len(), Problem::ALL.len());
}

#[test]
fn never_in_the_way_webhooks_without_conditions_are_named_with_who_wrote_last() {
    let bare = |name: &str| Webhook {
        has_conditions: false,
        ..webhook(name, signed())
    };
    let configuration = Configuration::Present {
        webhooks: vec![bare("a"), webhook("b", signed()), bare("c")],
        writes: vec![
            // It owns a `caBundle`, and has nothing to do with the conditions.
            write("cordonhold-certs", "2026-11-28T01:00:00Z", &["a"]),
            write("old-helm", "2026-11-28T02:00:00Z", &[]),
        ],
        mutates: None,
    };
    let found = found(&certificate(), &configuration);
    assert_eq!(only(&found), (Problem::ConditionsMissing, false));
    assert_eq!(found[0].about, "a, c");
    for says in [
        "a, c in the configuration cordonhold",
        "\"old-helm\"",
        "apply the manifests again",
    ] {
        assert!(found[0].text.contains(says), "{}", found[0].text);
    }
}

#[test]
fn one_node_one_agent_an_api_server_that_leaves_nodes_out_of_tokens_is_named() {
    use crate::claim::NodeClaim;
    for (claim, is_named) in [
        (None, false),
        (Some(NodeClaim::Names("node-0".to_owned())), false),
        // Such as a webhook outside of the cluster: its token says nothing of others.
        (Some(NodeClaim::Unbound), false),
        (Some(NodeClaim::PodAlone), true),
    ] {
        let server = Server {
            own_token: claim.clone(),
            has_mutating_policies: None,
        };
        // Also where there is no configuration to read.
        let found = found_on(&server, &certificate(), &Configuration::Unread);
        assert_eq!(!found.is_empty(), is_named, "{claim:?}");
        if is_named {
            assert_eq!(only(&found), (Problem::TokensWithoutNode, false));
            assert!(found[0].text.contains("Kubernetes 1.32"), "{}", found[0].text);
        }
    }
}

#[test]
fn last_wish_that_nothing_can_defer_is_named() {
    for (mutates, policies, is_named) in [
        // No mode is defer.
        (None, Some(false), false),
        (Some(true), Some(false), false),
        // A policy may be there.
        (Some(false), Some(true), false),
        (Some(false), None, false),
        (Some(false), Some(false), true),
    ] {
        let server = Server {
            own_token: None,
            has_mutating_policies: policies,
        };
        let configuration = Configuration::Present {
            webhooks: vec![webhook("n", signed())],
            writes: Vec::new(),
            mutates,
        };
        let found = found_on(&server, &certificate(), &configuration);
        assert_eq!(!found.is_empty(), is_named, "{mutates:?} {policies:?}");
        if is_named {
            assert_eq!(only(&found), (Problem::NothingDefers, false));
            assert!(
                found[0].text.contains("manifests/components/defer"),
                "{}",
                found[0].text
            );
        }
    }
}

#[test]
fn a_certificate_that_begins_now_is_valid() {
    let certificate = Certificate {
        validity: validity(0, 24 * 365),
        ..certificate()
    };
    assert_eq!(found(&certificate, &present(vec![webhook("n", signed())])), []);
}

#[test]
fn a_span_is_told_in_the_largest_unit_of_which_it_has_one() {
    for (seconds, told) in [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (-3_600, "1 h"),
        (86_399, "23 h"),
        (86_400, "1 d"),
    ] {
        assert_eq!(span(SignedDuration::from_secs(seconds)), told);
    }
}
