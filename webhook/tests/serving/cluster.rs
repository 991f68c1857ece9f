//! A fake API server that answers by the first line of a request, and proxies in front of it, over loopback sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use cordonhold_certs_dev::Issued;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// The kind of proxy that a connection goes through, before TLS and HTTP.
#[derive(Clone, Copy)]
pub(crate) enum Through {
    Nothing,
    HttpProxy,
    SocksProxy,
}

/// An answer of the API server. Code 0 means that it does not answer.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

/// The answer to a request with this first line.
type Answers = Arc<dyn Fn(&str) -> Says + Send + Sync>;

/// A running API server. It serves until the test ends.
pub(crate) struct Cluster {
    pub(crate) address: SocketAddr,
    /// What each connection asked the proxy for; empty without a proxy.
    asked: Receiver<String>,
}

impl Says {
    /// An error, as the API server sends it.
    pub(crate) fn status(code: u16, message: &str) -> Says {
        let reason = if code == 404 { "NotFound" } else { "" };
        let body = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure",
            "code": code, "reason": reason, "message": message,
        });
        Says { code, body }
    }

    pub(crate) fn ok(body: Value) -> Says {
        Says { code: 200, body }
    }

    pub(crate) fn silence() -> Says {
        Says {
            code: 0,
            body: Value::Null,
        }
    }

    pub(crate) fn node(name: &str) -> Says {
        let body = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "resourceVersion": "1"}, "spec": {"unschedulable": true},
        });
        Says { code: 200, body }
    }
}

impl Cluster {
    /// Starts an API server that gives the same answer to everything.
    pub(crate) fn start(through: Through, issued: Option<&Issued>, says: Says) -> Cluster {
        Cluster::serve(through, issued, Arc::new(move |_| says.clone()))
    }

    pub(crate) fn answering(says: impl Fn(&str) -> Says + Send + Sync + 'static) -> Cluster {
        Cluster::serve(Through::Nothing, None, Arc::new(says))
    }

    fn serve(through: Through, issued: Option<&Issued>, says: Answers) -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tls = issued.map(server_config);
        let (tell, asked) = channel();
        drop(std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tls, says, tell) = (tls.clone(), Arc::clone(&says), tell.clone());
                // A client that goes away is what some tests are about.
                let serve = move || drop(serve(stream, through, tls, &says, &tell));
                drop(std::thread::spawn(serve));
            }
        }));
        Cluster { address, asked }
    }

    /// What the proxy was asked for, without repetitions.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked: Vec<String> = self.asked.try_iter().collect();
        asked.dedup();
        asked
    }
}

fn server_config(issued: &Issued) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(issued.cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.unwrap())
}

fn serve(
    mut stream: TcpStream,
    through: Through,
    tls: Option<Arc<ServerConfig>>,
    says: &Answers,
    tell: &Sender<String>,
) -> std::io::Result<()> {
    match through {
        Through::Nothing => {}
        Through::HttpProxy => {
            let head = head(&mut stream)?;
            drop(tell.send(head.lines().next().unwrap_or_default().to_owned()));
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        }
        Through::SocksProxy => drop(tell.send(socks(&mut stream)?)),
    }
    match tls {
        None => answer(&mut stream, says),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
            answer(&mut StreamOwned::new(connection, stream), says)
        }
    }
}

/// SOCKS5 (RFC 1928) without authentication: returns the name that is asked for.
fn socks(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut two = [0; 2];
    stream.read_exact(&mut two)?;
    let mut methods = vec![0; usize::from(two[1])];
    stream.read_exact(&mut methods)?;
    stream.write_all(&[5, 0])?;
    let mut request = [0; 5];
    stream.read_exact(&mut request)?;
    let mut rest = vec![0; usize::from(request[4]) + 2];
    stream.read_exact(&mut rest)?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (name, port) = rest.split_at(rest.len() - 2);
    let port = u16::from_be_bytes([port[0], port[1]]);
    Ok(format!("{}:{port}", String::from_utf8_lossy(name)))
}

fn answer(stream: &mut (impl Read + Write), says: &Answers) -> std::io::Result<()> {
    let head = head(stream)?;
    let says = says(head.lines().next().unwrap_or_default());
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    if says.code == 0 {
        // Until the client gives up.
        return stream.read_to_end(&mut Vec::new()).map(drop);
    }
    let text = says.body.to_string();
    write!(
        stream,
        "HTTP/1.1 {} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        says.code,
        text.len()
    )?;
    stream.flush()
}

/// Reads byte by byte, so that nothing of what follows is taken.
fn head(stream: &mut impl Read) -> std::io::Result<String> {
    let mut lines = BufReader::with_capacity(1, stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head)? == 0 {
            break;
        }
    }
    Ok(head)
}
