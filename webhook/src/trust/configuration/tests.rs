//! Checks configurations as the API server returns them against certificates as people make them.

use cordonhold_shared::admission::trust::{
    Ca, Configuration, Finding, Installation, Problem, Server, findings,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::json;

use super::*;

const SERVICE: &str = "cordonhold-webhook.cordonhold.svc";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str, ends: i32) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_after = rcgen::date_time_ymd(ends, 1, 1);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn served(by: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = CertificateParams::new(vec![SERVICE.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, SERVICE);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, by).unwrap();
    Certificate::from_pem(cert.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

/// A configuration with one webhook that has this CA.
fn configuration(ca_pem: Option<&str>) -> Found {
    let mut client = json!({"service": {"name": "cordonhold-webhook", "namespace": "cordonhold"}});
    if let Some(pem) = ca_pem {
        client["caBundle"] = serde_json::to_value(k8s_openapi::ByteString(pem.as_bytes().to_vec())).unwrap();
    }
    let object = json!({
        "metadata": {
            "name": "cordonhold", "uid": "u-1",
            "managedFields": [
                {"manager": "kubectl-patch", "operation": "Update", "time": "2026-11-28T01:00:00Z", "apiVersion": "v1", "fieldsType": "FieldsV1",
                 "fieldsV1": {"f:webhooks": {"k:{\"name\":\"nodes.cordonhold.dev\"}": {"f:clientConfig": {"f:caBundle": {}}}}}},
                {"manager": "kustomize-controller", "operation": "Apply", "time": "2026-11-28T02:00:00Z",
                 "fieldsV1": {"f:webhooks": {"k:{\"name\":\"nodes.cordonhold.dev\"}": {".": {}, "f:clientConfig": {"f:service": {}}}}}},
            ],
        },
        "webhooks": [{"name": "nodes.cordonhold.dev", "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                      "matchConditions": [{"name": "some", "expression": "true"}]}],
    });
    Found::of(serde_json::from_value(object).unwrap(), None, false)
}

fn now() -> Timestamp {
    "2026-11-28T02:41:00Z".parse().unwrap()
}

fn told(certificate: &Certificate, found: &Found) -> Vec<Finding> {
    let installation = Installation {
        configuration: "cordonhold".to_owned(),
        namespace: "cordonhold".to_owned(),
    };
    let seen = found.seen_from(certificate, now());
    findings(
        certificate.facts(),
        &seen,
        &Server::default(),
        &installation,
        now(),
    )
}

fn problems(certificate: &Certificate, found: &Found) -> Vec<(Problem, bool)> {
    let told = told(certificate, found);
    told.iter()
        .map(|finding| (finding.problem, finding.blocks))
        .collect()
}

#[test]
fn found_p9_the_ca_bundle_is_judged_by_whether_it_has_signed_the_certificate() {
    let (ours, theirs, ended) = (
        authority("ours", 4096),
        authority("theirs", 4096),
        authority("ended", 2020),
    );
    let certificate = served(&ours, |_| {});
    let both = theirs.pem() + &ours.pem();
    for (bundle, expected) in [
        (Some(ours.pem()), None),
        (Some(both), None),
        (Some(theirs.pem()), Some((Problem::CaIsAnother, true))),
        (Some("garbage".to_owned()), Some((Problem::CaUnreadable, true))),
        (None, Some((Problem::CaMissing, false))),
        (Some(String::new()), Some((Problem::CaMissing, false))),
    ] {
        let found = configuration(bundle.as_deref());
        assert_eq!(
            problems(&certificate, &found),
            Vec::from_iter(expected),
            "{bundle:?}"
        );
    }
    let of_ended = served(&ended, |_| {});
    assert_eq!(
        problems(&of_ended, &configuration(Some(&ended.pem()))),
        [(Problem::CaEnded, true)]
    );
    // A certificate that has ended is reported as such, and its CA is not blamed.
    let past = served(&ours, |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let found = configuration(Some(&ours.pem()));
    assert_eq!(problems(&past, &found), [(Problem::CertificateEnded, true)]);
}

#[test]
fn found_p9_certificates_as_people_make_them_are_known_by_what_is_wrong() {
    let ca = authority("ours", 4096);
    let found = configuration(Some(&ca.pem()));
    let cn_only = served(&ca, |params| params.subject_alt_names.clear());
    assert_eq!(
        problems(&cn_only, &found),
        [(Problem::CertificateWithoutNames, true)]
    );
    let other = served(&ca, |params| {
        *params = CertificateParams::new(vec!["webhook.default.svc".to_owned()]).unwrap();
    });
    assert_eq!(
        problems(&other, &found),
        [(Problem::CertificateForOtherName, true)]
    );
    let wildcard = served(&ca, |params| {
        *params = CertificateParams::new(vec!["*.cordonhold.svc".to_owned()]).unwrap();
    });
    assert_eq!(problems(&wildcard, &found), []);
    let client = served(&ca, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert_eq!(
        problems(&client, &found),
        [(Problem::CertificateNotForServers, true)]
    );
    // The certificate alone in the bundle, as with a self-signed one: Go accepts that.
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec![SERVICE.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let own_served = Certificate::from_pem(own.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    assert_eq!(problems(&own_served, &configuration(Some(&own.pem()))), []);
}

#[test]
fn found_e3_who_wrote_the_configuration_is_read_from_it() {
    let (ours, theirs) = (authority("ours", 4096), authority("theirs", 4096));
    let certificate = served(&ours, |_| {});
    // A missing CA is blamed on the manager that wrote last, a wrong one on the manager that owns the field.
    for (bundle, manager) in [(Some(theirs.pem()), "kubectl-patch"), (None, "kubectl-patch")] {
        let told = told(&certificate, &configuration(bundle.as_deref()));
        assert!(told[0].text.contains(&format!("{manager:?}")), "{}", told[0].text);
    }
    let Found::Present {
        uid,
        webhooks,
        mut writes,
        mutates,
    } = configuration(None)
    else {
        panic!("it is present")
    };
    assert_eq!(uid.as_deref(), Some("u-1"));
    assert_eq!(writes[0].ca_of, ["nodes.cordonhold.dev"]);
    // As after Flux: the field has no owner any more.
    drop(writes.remove(0));
    let told = told(
        &certificate,
        &Found::Present {
            uid,
            webhooks,
            writes,
            mutates,
        },
    );
    assert!(
        told[0].text.contains("\"kustomize-controller\" (Apply)"),
        "{}",
        told[0].text
    );
}

/// The mutating configuration has a CA of its own, and is judged like another webhook. Without one there is nothing to judge.
#[test]
fn the_mutating_configuration_is_checked_too() {
    let (ours, theirs) = (authority("ours", 4096), authority("theirs", 4096));
    let certificate = served(&ours, |_| {});
    let read = |pem: &str, name: &str| {
        let ca_bundle = k8s_openapi::ByteString(pem.as_bytes().to_vec());
        json!({
            "metadata": {"name": "cordonhold"},
            "webhooks": [{
                "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "matchConditions": [{"name": "some", "expression": "true"}],
                "clientConfig": {"service": {"name": "cordonhold-webhook", "namespace": "cordonhold"}, "caBundle": ca_bundle},
            }],
        })
    };
    let of = |mutating: Option<&str>| {
        let validating = serde_json::from_value(read(&ours.pem(), "nodes.cordonhold.dev")).unwrap();
        let mutating =
            mutating.map(|pem| serde_json::from_value(read(pem, "defers.nodes.cordonhold.dev")).unwrap());
        told(&certificate, &Found::of(validating, mutating, true))
    };
    assert!(of(None).is_empty() && of(Some(&ours.pem())).is_empty());
    let told = of(Some(&theirs.pem()));
    assert_eq!((told[0].problem, told[0].blocks), (Problem::CaIsAnother, false));
    assert!(
        told[0].text.contains("defers.nodes.cordonhold.dev"),
        "{}",
        told[0].text
    );
}

#[test]
fn the_name_that_is_asked_for_is_the_services_or_the_urls() {
    for (client, name) in [
        (
            json!({"service": {"name": "w", "namespace": "n"}}),
            Name::Dns("w.n.svc".to_owned()),
        ),
        (
            json!({"url": "https://webhook.example:8443/validate"}),
            Name::Dns("webhook.example".to_owned()),
        ),
        (
            json!({"url": "https://127.0.0.1:8443/validate"}),
            Name::Ip("127.0.0.1".parse().unwrap()),
        ),
        (
            json!({"url": "https://[::1]/validate"}),
            Name::Ip("::1".parse().unwrap()),
        ),
    ] {
        assert_eq!(asks(&serde_json::from_value(client).unwrap()), name);
    }
}

#[test]
fn what_was_not_read_yet_says_nothing() {
    let certificate = served(&authority("ours", 4096), |_| {});
    assert_eq!(
        Found::default().seen_from(&certificate, now()),
        Configuration::Unread
    );
    let present = configuration(None).seen_from(&certificate, now());
    let Configuration::Present { webhooks, .. } = present else {
        panic!("it is present")
    };
    assert_eq!(webhooks[0].ca, Ca::Missing);
}
