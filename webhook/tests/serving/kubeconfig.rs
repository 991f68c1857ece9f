//! `explain` with the kubeconfigs that people have: behind proxies, and with certificates of any age.

use std::process::Command;

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::cluster::{Cluster, Says, Through};
use super::process::{BINARY, issue};

const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
];

pub(crate) fn kubeconfig(cluster: &Value, user: &Value) -> String {
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "c", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    text.to_string()
}

/// Exit code and error of `explain --node=n`, with no proxy but these.
pub(crate) fn explain(kubeconfig: &str, words: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    std::fs::write(&path, kubeconfig).unwrap();
    let mut command = Command::new(BINARY);
    for name in PROXIES {
        let _ = command.env_remove(name);
    }
    let command = command
        .args(["explain", "--node=n", "--kubeconfig"])
        .arg(&path)
        .args(words)
        .envs(variables.iter().copied());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn found_p10_explain_reaches_a_cluster_behind_a_proxy_as_kubectl_does() {
    let issued = cordonhold_certs_dev::issue(&["api.example".to_owned()]).unwrap();
    let server = |proxy_url: Option<String>| {
        let mut cluster = json!({
            "server": "https://api.example:6443", "certificate-authority-data": issued.ca_bundle(),
        });
        cluster["proxy-url"] = json!(proxy_url);
        kubeconfig(&cluster, &json!({"token": "t"}))
    };
    let http = Cluster::start(Through::HttpProxy, Some(&issued), Says::node("n"));
    let socks = Cluster::start(Through::SocksProxy, Some(&issued), Says::node("n"));
    let (http_url, socks_url) = (
        format!("http://{}", http.address),
        format!("socks5://{}", socks.address),
    );
    let nowhere = [("HTTPS_PROXY", "http://127.0.0.1:1")];
    let passes = |kubeconfig: &str, variables: &[(&str, &str)]| {
        let (code, said) = explain(kubeconfig, &["--as=alice"], variables);
        assert_eq!(code, Some(0), "{said}");
    };
    passes(&server(Some(http_url.clone())), &nowhere);
    passes(&server(None), &[("HTTPS_PROXY", &http_url)]);
    passes(
        &server(None),
        &[
            ("https_proxy", &http.address.to_string()),
            ("NO_PROXY", "example.com"),
        ],
    );
    assert_eq!(http.asked(), ["CONNECT api.example:6443 HTTP/1.1"]);
    passes(&server(Some(socks_url)), &[]);
    assert_eq!(socks.asked(), ["api.example:6443"]);
}

#[test]
fn found_p10_what_no_proxy_names_is_reached_without_one() {
    let api = Cluster::start(Through::Nothing, None, Says::node("n"));
    let direct = kubeconfig(
        &json!({"server": format!("http://{}", api.address)}),
        &json!({"token": "t"}),
    );
    // Go uses no proxy for loopback, whatever the variables say.
    let (code, said) = explain(&direct, &["--as=alice"], &[("HTTP_PROXY", "http://127.0.0.1:1")]);
    assert_eq!(code, Some(0), "{said}");
    let far = kubeconfig(&json!({"server": "https://api.invalid"}), &json!({"token": "t"}));
    let proxied = [("HTTPS_PROXY", "http://u:secret@127.0.0.1:1")];
    let (code, said) = explain(&far, &["--as=alice"], &proxied);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("https://api.invalid through the proxy http://127.0.0.1:1 from HTTPS_PROXY")
            && !said.contains("secret"),
        "{said}"
    );
    let excepted = [proxied[0], ("NO_PROXY", "10.0.0.0/8,.invalid")];
    let (_, said) = explain(&far, &["--as=alice"], &excepted);
    assert!(said.contains("API server https://api.invalid: "), "{said}");
}

#[test]
fn found_p11_a_client_certificate_of_version_1_is_named_with_the_way_out() {
    let (cert, key) = version_1();
    let server = json!({"server": "https://127.0.0.1:1", "certificate-authority-data": issue().ca_bundle()});
    let user = json!({"client-certificate-data": base64(&cert), "client-key-data": base64(&key)});
    let (code, said) = explain(&kubeconfig(&server, &user), &[], &[]);
    assert_eq!(code, Some(2), "{said}");
    for part in [
        "/config: ",
        "client certificate is X.509 version 1",
        "-extfile",
        "refresh-certs",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(
        !said.contains("private key") && !said.contains("OtherError"),
        "{said}"
    );
}

/// A certificate without a version, as `openssl x509 -req` made them for years, and its key: PEM.
pub(crate) fn version_1() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::default().self_signed(&key).unwrap();
    let (whole, rest) = value(cert.der());
    let (signed, signature) = value(whole);
    // The version is the first field, in five bytes; nothing of version 3 follows where there is no extension.
    assert!(rest.is_empty() && signed.starts_with(&[0xa0, 3, 2, 1, 2]));
    let whole = [sequence(&signed[5..]).as_slice(), signature].concat();
    let pem = pem::Pem::new("CERTIFICATE", sequence(&whole));
    (pem::encode(&pem), key.serialize_pem())
}

/// The contents of the DER value that comes first, and what follows it.
fn value(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, begin) = match der[1] {
        0x81 => (usize::from(der[2]), 3),
        0x82 => (usize::from(u16::from_be_bytes([der[2], der[3]])), 4),
        short => (usize::from(short), 2),
    };
    (&der[begin..begin + length], &der[begin + length..])
}

/// A sequence in DER, which needs the shortest form of the length.
fn sequence(contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let head = match (high, low) {
        (0, ..0x80) => vec![0x30, low],
        (0, _) => vec![0x30, 0x81, low],
        _ => vec![0x30, 0x82, high, low],
    };
    [head.as_slice(), contents].concat()
}

pub(crate) fn base64(text: &str) -> String {
    cordonhold_certs_dev::ca_bundle(text)
}

/// The API server's certificate can be wrong too, not only the client's.
#[test]
fn found_p11_an_api_server_that_cannot_be_trusted_is_told_with_the_fix() {
    let named = cordonhold_certs_dev::issue(&["api.example".to_owned()]).unwrap();
    let api = Cluster::start(Through::Nothing, Some(&named), Says::node("n"));
    let server = format!("https://{}", api.address);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.crt");
    std::fs::write(&file, issue().ca_pem).unwrap();
    let read_again = format!("{}, which is read again", file.display());
    for (key, ca, parts) in [
        (
            "certificate-authority-data",
            json!(named.ca_bundle()),
            ["is not for that name", "tls-server-name"],
        ),
        (
            "certificate-authority-data",
            json!(issue().ca_bundle()),
            ["not signed by the CA", "certificate-authority-data"],
        ),
        (
            "certificate-authority",
            json!(file),
            ["not signed by the CA", read_again.as_str()],
        ),
    ] {
        let cluster = json!({"server": server, key: ca});
        let (code, said) = explain(&kubeconfig(&cluster, &json!({"token": "t"})), &[], &[]);
        assert_eq!(code, Some(2), "{said}");
        for part in parts.into_iter().chain([server.as_str()]) {
            assert!(said.contains(part), "{said}");
        }
    }
}
