//! TLS: which certificates are served, how they are renewed while the server runs, and which clients may send reviews.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Instant;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SigningKey,
};
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{ask, get, roots, tls, trusting, until_closed};
use super::port::PATIENCE;
use super::process::{Files, Webhook, issue};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> Authority {
    CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap()
}

/// PEM of a certificate with these names.
fn signed(by: &Authority, key: &KeyPair, common: &str, alternative: &[&str]) -> String {
    let alternative: Vec<String> = alternative.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(alternative).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.signed_by(key, by).unwrap().pem()
}

/// The first element of some DER, and the rest.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (start, length) = match der[1] {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let start = 2 + usize::from(long & 0x7f);
            let length = der[2..start]
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (start, length)
        }
    };
    (&der[start..start + length], &der[start + length..])
}

/// What PKCS#8 wraps: version, algorithm, and an octet string with the key in its older shape, PKCS#1 or SEC1.
fn unwrapped(pkcs8: &[u8]) -> Vec<u8> {
    let (inside, _) = element(pkcs8);
    let (_, after_version) = element(inside);
    let (_, after_algorithm) = element(after_version);
    element(after_algorithm).0.to_vec()
}

fn armoured(tag: &str, der: Vec<u8>) -> String {
    pem::encode(&pem::Pem::new(tag, der))
}

async fn serves(chain: &str, key: &str, ca_pem: &str) -> bool {
    let files = Files::new(&issue());
    files.write("tls.crt", chain);
    files.write("tls.key", key);
    let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
    let webhook = Webhook::start_on(&cert, &key, &files, issue(), &[]);
    webhook.is_trusted_by(ca_pem).await
}

#[tokio::test]
async fn keys_of_every_shape_are_served() {
    let ca = authority("ca");
    let ec = KeyPair::generate().unwrap();
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let sec1 = armoured("EC PRIVATE KEY", unwrapped(ec.serialized_der()));
    // As `openssl ecparam -genkey` writes it: the name of the curve (prime256v1) first.
    let parameters = armoured("EC PARAMETERS", vec![6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
    for (shape, pair, pem) in [
        ("PKCS#8, ECDSA", &ec, ec.serialize_pem()),
        ("PKCS#8, RSA", &rsa, rsa.serialize_pem()),
        ("SEC1", &ec, sec1.clone()),
        ("SEC1 behind its parameters", &ec, parameters + &sec1),
        (
            "PKCS#1",
            &rsa,
            armoured("RSA PRIVATE KEY", unwrapped(rsa.serialized_der())),
        ),
    ] {
        let cert = signed(&ca, pair, "webhook", &["localhost"]);
        assert!(serves(&cert, &pem, &ca.pem()).await, "{shape}");
    }
}

#[tokio::test]
async fn a_chain_is_served_with_its_intermediates() {
    let root = authority("root");
    let between =
        CertifiedIssuer::signed_by(ca_params("between"), KeyPair::generate().unwrap(), &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = signed(&between, &key, "webhook", &["localhost"]);
    let key = key.serialize_pem();
    assert!(serves(&(leaf.clone() + &between.pem()), &key, &root.pem()).await);
    assert!(
        !serves(&leaf, &key, &root.pem()).await,
        "the client does not know the one between"
    );
}

fn only(version: &'static SupportedProtocolVersion, ca_pem: &str) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots(ca_pem))
        .with_no_client_auth()
}

#[tokio::test]
async fn the_oldest_version_is_1_3_unless_1_2_is_asked_for() {
    for (args, old) in [(&[][..], false), (&["--tls-min-version=VersionTLS12"], true)] {
        let webhook = Webhook::start(args);
        let ca_pem = webhook.issued.ca_pem.as_str();
        assert_eq!(
            tls(webhook.listen, only(&TLS12, ca_pem)).await.is_ok(),
            old,
            "{args:?}"
        );
        assert!(tls(webhook.listen, only(&TLS13, ca_pem)).await.is_ok());
    }
}

#[tokio::test]
async fn only_http1_is_spoken_and_a_client_of_http2_alone_is_refused_in_the_handshake() {
    let webhook = Webhook::start(&[]);
    let offering = |protocols: &[&[u8]]| {
        let mut config = trusting(&webhook.issued.ca_pem);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        tls(webhook.listen, config)
    };
    let refused = offering(&[b"h2"]).await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    // kube-apiserver offers both; another client offers nothing.
    for (protocols, agreed) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"http/1.1"[..])),
        (&[], None),
    ] {
        let mut stream = offering(protocols).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        assert_eq!(ask(&mut stream, &get("/")).await.status, 404);
    }
    // HTTP/2 without ALPN: its preface is not a request of HTTP/1.1.
    let mut stream = offering(&[]).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    drop(until_closed(&mut stream).await);
}

/// As a kubelet writes a Secret: files in a directory of their own, which a symlink is swapped to.
fn write_volume(files: &Files, version: &str, cert: &str, key: &str) {
    std::fs::create_dir(files.path(version)).unwrap();
    files.write(&format!("{version}/tls.crt"), cert);
    files.write(&format!("{version}/tls.key"), key);
    symlink(version, files.path("..data_tmp")).unwrap();
    std::fs::rename(files.path("..data_tmp"), files.path("..data")).unwrap();
}

#[tokio::test]
async fn a_secret_that_the_kubelet_swaps_is_served() {
    let (first, second) = (issue(), issue());
    let files = Files::new(&first);
    write_volume(&files, "..2026_01_01", &first.cert_pem, &first.key_pem);
    let (cert, key) = (files.path("volume.crt"), files.path("volume.key"));
    symlink("..data/tls.crt", &cert).unwrap();
    symlink("..data/tls.key", &key).unwrap();
    let mut webhook = Webhook::start_on(&cert, &key, &files, first.clone(), &[]);
    let mut open = tls(webhook.listen, trusting(&first.ca_pem)).await.unwrap();

    write_volume(&files, "..2026_02_02", &second.cert_pem, &second.key_pem);
    std::fs::remove_dir_all(files.path("..2026_01_01")).unwrap();
    drop(webhook.log_line("serving a new certificate"));
    assert!(webhook.is_trusted_by(&second.ca_pem).await);
    assert!(!webhook.is_trusted_by(&first.ca_pem).await);
    assert_eq!(
        ask(&mut open, &get("/")).await.status,
        404,
        "what was open goes on"
    );
    let (_, page) = webhook.admin("/metrics").await;
    let loaded = "cordonhold_webhook_tls_reloads_total{what=\"certificate\",outcome=\"loaded\"} 1";
    assert!(page.contains(loaded), "{page}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_not_served() {
    let (first, second) = (issue(), issue());
    let files = Files::new(&first);
    let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
    let mut webhook = Webhook::start_on(&cert, &key, &files, first.clone(), &[]);
    files.write("tls.crt", "garbage");
    drop(webhook.log_line("kept the last good certificate"));
    assert!(webhook.is_trusted_by(&first.ca_pem).await);
    files.write_pair_and_kubeconfig(&second);
    drop(webhook.log_line("serving a new certificate"));
    assert!(webhook.is_trusted_by(&second.ca_pem).await);
}

#[tokio::test]
async fn half_of_a_new_pair_is_not_served() {
    let (first, second) = (issue(), issue());
    let files = Files::new(&first);
    let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
    let mut webhook = Webhook::start_on(&cert, &key, &files, first.clone(), &[]);
    files.write("tls.crt", &second.cert_pem);
    let line = webhook.log_line("kept the last good certificate");
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("do not belong together") && error.contains("tls.key"),
        "{error}"
    );
    assert!(webhook.is_trusted_by(&first.ca_pem).await);
    assert_eq!(webhook.admin("/readyz").await.0, 200);
    let (_, page) = webhook.admin("/metrics").await;
    let refused = "cordonhold_webhook_tls_reloads_total{what=\"certificate\",outcome=\"refused\"} 1";
    assert!(page.contains(refused), "{page}");

    files.write("tls.key", &second.key_pem);
    drop(webhook.log_line("serving a new certificate"));
    assert!(webhook.is_trusted_by(&second.ca_pem).await);
}

#[tokio::test]
async fn found_e5_a_certificate_that_has_ended_is_told_with_the_way_out_and_ready_only_when_ready() {
    let ca = authority("ca");
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let ended = params.signed_by(&key, &ca).unwrap().pem();
    let files = Files::new(&issue());
    files.write("tls.crt", &ended);
    files.write("tls.key", &key.serialize_pem());
    let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
    let mut webhook = Webhook::start_on(&cert, &key, &files, issue(), &[]);
    let why = not_ready(&mut webhook).await;
    for part in [
        "the serving certificate ended 2020-01-01T00:00:00Z, ",
        "kubectl -n cordonhold create secret tls cordonhold-webhook-tls ",
        " --dry-run=client -o yaml | kubectl apply -f -",
    ] {
        assert!(why.contains(part), "{why}");
    }
    let problem = "cordonhold_webhook_trust_problem{problem=\"certificate-ended\"}";
    let (_, page) = webhook.admin("/metrics").await;
    assert!(page.contains(&format!("{problem} 1\n")), "{page}");

    let renewed = issue();
    files.write("tls.crt", &renewed.cert_pem);
    files.write("tls.key", &renewed.key_pem);
    let ready = webhook.log_line("ready");
    assert_eq!(ready["admin_listen"], webhook.admin.to_string());
    assert_eq!(webhook.admin("/readyz").await, (200, "ok\n".to_owned()));
    let (_, page) = webhook.admin("/metrics").await;
    assert!(page.contains(&format!("{problem} 0\n")), "{page}");
}

/// Why the webhook is not ready, from its log; `/readyz` says the same.
async fn not_ready(webhook: &mut Webhook) -> String {
    let line = webhook.log_line("not ready");
    let why = line["why"].as_str().unwrap().to_owned();
    let (status, text) = webhook.admin("/readyz").await;
    assert_eq!(status, 503);
    // A time span in the text may have grown meanwhile.
    assert!(
        text.starts_with("not ready: certificate: the serving certificate "),
        "{text}"
    );
    assert!(why.starts_with("certificate: the serving certificate "), "{why}");
    why
}

/// The DER of a sequence of these.
fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let inside = parts.concat();
    let length = u16::try_from(inside.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82], length.as_slice(), &inside].concat()
}

/// The first element with its head, and the rest.
fn whole(der: &[u8]) -> (&[u8], &[u8]) {
    let (_, rest) = element(der);
    der.split_at(der.len() - rest.len())
}

/// A certificate of X.509 version 1, as `openssl x509 -req` makes one that is given no extensions: PEM.
pub(crate) fn of_version_1(key: &KeyPair) -> String {
    let third = CertificateParams::default().self_signed(key).unwrap();
    let (certificate, _) = element(third.der());
    let (to_sign, rest) = whole(certificate);
    let (algorithm, _) = whole(rest);
    let (fields, _) = element(to_sign);
    // All but the version in front and the extensions behind.
    let (_, mut fields) = whole(fields);
    let mut kept = Vec::new();
    for _ in 0..6 {
        let (field, rest) = whole(fields);
        kept.push(field);
        fields = rest;
    }
    let to_sign = sequence(&kept);
    let signature = key.sign(&to_sign).unwrap();
    let length = u8::try_from(signature.len() + 1).unwrap();
    let signature = [&[3, length, 0], signature.as_slice()].concat();
    armoured("CERTIFICATE", sequence(&[&to_sign, algorithm, &signature]))
}

#[tokio::test]
async fn found_p9_a_certificate_that_the_api_server_refuses_is_not_ready_with_the_reason() {
    let ca = authority("ca");
    let key = KeyPair::generate().unwrap();
    let mut early = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    early.not_before = rcgen::date_time_ymd(4000, 1, 1);
    for (cert, says) in [
        (of_version_1(&key), "is of X.509 version 1"),
        (
            signed(&ca, &key, "localhost", &[]),
            "has no subject alternative name, and the API server checks no other",
        ),
        (
            early.signed_by(&key, &ca).unwrap().pem(),
            "is valid only from 4000-01-01T00:00:00Z on",
        ),
    ] {
        let files = Files::new(&issue());
        files.write("tls.crt", &cert);
        files.write("tls.key", &key.serialize_pem());
        let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
        let mut webhook = Webhook::start_on(&cert, &key, &files, issue(), &[]);
        let why = not_ready(&mut webhook).await;
        assert!(why.contains(says), "{why}");
    }
}

/// A client, with a certificate if one is given.
fn client(server_ca_pem: &str, identity: Option<(&str, &KeyPair)>) -> ClientConfig {
    let Some((cert, key)) = identity else {
        return trusting(server_ca_pem);
    };
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(server_ca_pem))
        .with_client_auth_cert(vec![cert], key)
        .unwrap()
}

/// Whether the client gets an answer. With TLS 1.3 a client learns only by reading that it was refused.
async fn is_served(webhook: &Webhook, config: ClientConfig) -> bool {
    let Ok(mut stream) = tls(webhook.listen, config).await else {
        return false;
    };
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    let sent = stream.write_all(request.as_bytes()).await;
    let received = stream.read_to_string(&mut answer).await;
    sent.is_ok() && received.is_ok() && answer.starts_with("HTTP/1.1 404")
}

#[tokio::test]
async fn only_clients_of_the_ca_with_an_allowed_name_are_served() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let key = KeyPair::generate().unwrap();
    let issued = issue();
    let files = Files::new(&issued);
    files.write("client-ca.crt", &ours.pem());
    let ca_file = format!("--client-ca-file={}", files.path("client-ca.crt").display());
    let (cert_path, key_path) = (files.path("tls.crt"), files.path("tls.key"));
    let args = [
        ca_file.as_str(),
        "--client-allowed-names=kube-apiserver,api.example",
    ];
    let mut webhook = Webhook::start_on(&cert_path, &key_path, &files, issued.clone(), &args);
    let server_ca = issued.ca_pem.as_str();
    let by_name = signed(&ours, &key, "kube-apiserver", &[]);
    let by_alternative = signed(&ours, &key, "other", &["api.example"]);
    let unnamed = signed(&ours, &key, "other", &["other.example"]);
    let foreign = signed(&theirs, &key, "kube-apiserver", &[]);
    for (who, identity, is_allowed) in [
        ("common name", Some(&by_name), true),
        ("alternative name", Some(&by_alternative), true),
        ("no certificate", None, false),
        ("no allowed name", Some(&unnamed), false),
        ("another CA", Some(&foreign), false),
    ] {
        let config = client(server_ca, identity.map(|cert| (cert.as_str(), &key)));
        assert_eq!(is_served(&webhook, config).await, is_allowed, "{who}");
    }
    // A client may learn that it was refused before that is counted.
    let counted = "cordonhold_webhook_connections_refused_total{reason=\"client_certificate\"} 3";
    let begun = Instant::now();
    while !webhook.admin("/metrics").await.1.contains(counted) {
        assert!(begun.elapsed() < PATIENCE, "{counted} is missing");
    }

    // The CA is read again, and what cannot be read changes nothing.
    files.write("client-ca.crt", "garbage");
    drop(webhook.log_line("kept the last good client CAs"));
    assert!(is_served(&webhook, client(server_ca, Some((&by_name, &key)))).await);
    files.write("client-ca.crt", &theirs.pem());
    drop(webhook.log_line("checking clients against new CAs"));
    assert!(is_served(&webhook, client(server_ca, Some((&foreign, &key)))).await);
    assert!(!is_served(&webhook, client(server_ca, Some((&by_name, &key)))).await);
}
