//! The images, in a real containerd and a real registry. The program in them is a small one that says what it finds: those that are shipped
//! take minutes to build, see `.ci/long`.
//!
//! Not here: how images are made, see `manifests/release`.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_release::VERSION;
use cordonhold_release::image::{self, Image, sha256};
use cordonhold_release::images::{NO_REPOSITORY, name};
use cordonhold_release::program::{Arch, file_name, with_image};
use cordonhold_release::source::Commit;
use cordonhold_tests::containerd::Containerd;
use cordonhold_tests::process::{CommandLine, Kennel};
use cordonhold_tests::programs::{self, Program, build};
use cordonhold_tests::registry::Registry;
use kube::Client;
use kube::client::Body;
use kube::config::Config;
use serde_json::Value;

/// Prints its own name, its user, its variables, and the addresses of the names that it is given.
const PROGRAM: &str = r#"
use std::net::ToSocketAddrs;
fn main() {
    let mut words = std::env::args();
    println!("name {}", words.next().unwrap());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("Uid:")).unwrap());
    println!("path {}", std::env::var("PATH").unwrap());
    for word in words {
        println!("{word} is {:?}", (word.as_str(), 80).to_socket_addrs().map(|found| found.collect::<Vec<_>>()));
    }
}
"#;
/// Longest compilation of that, and longest push. Each takes a second or two.
const PATIENCE: Duration = Duration::from_secs(120);
/// A line of htpasswd: user `you`, password `s3cret`.
const USERS: &str = "you:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

/// The bytes of that program, linked as the shipped ones are.
fn program(directory: &Path) -> Result<Vec<u8>> {
    Ok(std::fs::read(programs::compile(directory, "program", PROGRAM)?)?)
}

/// Writes the tars of both images, for these CPUs, as `cargo images` does from this commit.
fn written_from(
    id: &str,
    directory: &Path,
    program: &[u8],
    arches: &[Arch],
) -> Result<Vec<(PathBuf, Image)>> {
    let commit = Commit {
        id: id.to_owned(),
        time: jiff::Timestamp::UNIX_EPOCH,
    };
    let mut all = Vec::new();
    for row in with_image() {
        for &arch in arches {
            let Some(contents) = &row.image else { continue };
            let image = image::make(row.name, contents, arch, program, Some(&commit))?;
            let path = directory.join(file_name(row.name, arch, ".tar"));
            std::fs::write(&path, image.to_tar(&name(NO_REPOSITORY, row.name))?)?;
            all.push((path, image));
        }
    }
    Ok(all)
}

fn written(directory: &Path, program: &[u8], arches: &[Arch]) -> Result<Vec<(PathBuf, Image)>> {
    written_from("one", directory, program, arches)
}

fn host() -> Result<Arch> {
    Arch::of_host().context("no program is shipped for this machine")
}

/// 127.128.0.0, below which each process has an address of its own: Linux has at most 2^22 processes.
const LOOPBACK: u32 = 0x7f80_0000;
const PROCESS: u32 = (1 << 22) - 1;

/// Answers each question for an IPv4 address with 127.83.0.2, on a port of its own. Names are asked for on port 53 alone, so it needs root.
fn name_server() -> Result<UdpSocket> {
    let address = Ipv4Addr::from(LOOPBACK | std::process::id() & PROCESS);
    let socket = UdpSocket::bind((address, 53)).map_err(|error| {
        let fix = match error.kind() {
            ErrorKind::PermissionDenied => "run this test as root",
            _ => "end what serves names there",
        };
        anyhow::anyhow!("failed to serve names on {address}:53 ({error}): {fix}")
    })?;
    let served = socket.try_clone()?;
    drop(std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = served.recv_from(&mut question) {
            // The name ends with an empty part; then come the kind and the class (RFC 1035, 4.1).
            let Some(end) = question[12..length].iter().position(|byte| *byte == 0) else {
                continue;
            };
            let asked = &question[12..12 + end + 5];
            let is_address = asked[asked.len() - 4..] == [0, 1, 0, 1];
            let mut answer = question[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
            answer.extend(asked);
            if is_address {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 83, 0, 2]);
            }
            drop(served.send_to(&answer, from));
        }
    }));
    Ok(socket)
}

#[tokio::test]
async fn containerd_imports_the_images_under_the_names_of_the_manifests_and_runs_them() -> Result<()> {
    let [leash] = build([Program::Leash])?;
    let directory = tempfile::tempdir()?;
    let kennel = Kennel::new(&leash, directory.path())?;
    let containerd = Containerd::start(&kennel, directory.path()).await?;
    for (tar, _) in written(directory.path(), &program(directory.path())?, &[host()?])? {
        let said = containerd.import(&tar).await?;
        ensure!(said.contains("done"), "{said}");
    }

    let webhook = name(NO_REPOSITORY, "cordonhold-webhook");
    let said = containerd.run(&webhook, &[], &[]).await?;
    ensure!(
        said.contains("name /usr/bin/cordonhold-webhook") && said.contains("Uid:\t65532\t"),
        "{said}"
    );
    let agent = name(NO_REPOSITORY, "cordonhold-agent");
    let said = containerd.run(&agent, &[], &[]).await?;
    ensure!(
        said.contains("name /usr/bin/cordonhold-agent") && said.contains("Uid:\t0\t"),
        "{said}"
    );
    ensure!(
        said.contains("path /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        "{said}"
    );
    // kured's manifest and chart start it by this name.
    let said = containerd.run(&agent, &[], &["/usr/bin/kured"]).await?;
    ensure!(said.contains("name /usr/bin/kured"), "{said}");
    Ok(())
}

/// The images that `cargo images` has made, as `.ci/long` lets it do before.
#[cfg(feature = "long")]
#[tokio::test]
async fn the_shipped_images_run_on_their_empty_root_and_enter_the_host() -> Result<()> {
    let [leash] = build([Program::Leash])?;
    let directory = tempfile::tempdir()?;
    let kennel = Kennel::new(&leash, directory.path())?;
    let containerd = Containerd::start(&kennel, directory.path()).await?;
    let made = cordonhold_release::source::root().join(cordonhold_release::images::OUT);
    for row in with_image() {
        let tar = made.join(file_name(row.name, host()?, ".tar"));
        drop(
            containerd
                .import(&tar)
                .await
                .context("run `cargo images` first")?,
        );
    }
    let (agent, webhook) = (
        name(NO_REPOSITORY, "cordonhold-agent"),
        name(NO_REPOSITORY, "cordonhold-webhook"),
    );
    for (image, program) in [
        (&webhook, "/usr/bin/cordonhold-webhook"),
        (&agent, "/usr/bin/cordonhold-agent"),
        (&agent, "/usr/bin/kured"),
    ] {
        let said = containerd.run(image, &[], &[program, "--version"]).await?;
        ensure!(said.contains(VERSION), "{program}: {said}");
    }
    // As the agent runs each command on the host. Here the host is this machine, by this process: PID 1 may be out of reach of root too.
    let id = std::process::id();
    let namespace = format!("/proc/{id}/ns/mnt");
    let words = [
        "/usr/bin/kured",
        "enter-host",
        namespace.as_str(),
        "--",
        "/bin/sh",
        "-c",
        "echo entered",
    ];
    let with_pids = format!("--with-ns=pid:/proc/{id}/ns/pid");
    let said = containerd
        .run(&agent, &["--privileged", &with_pids], &words)
        .await?;
    ensure!(said == "entered\n", "{said}");
    Ok(())
}

/// There is nothing on the image's root: no libraries that the C library could load, and no `/etc/nsswitch.conf`.
#[tokio::test]
async fn a_program_on_the_empty_root_resolves_names() -> Result<()> {
    let [leash] = build([Program::Leash])?;
    let directory = tempfile::tempdir()?;
    let kennel = Kennel::new(&leash, directory.path())?;
    let containerd = Containerd::start(&kennel, directory.path()).await?;
    let (tar, _) = written(directory.path(), &program(directory.path())?, &[host()?])?.remove(0);
    drop(containerd.import(&tar).await?);
    let names = name_server()?;
    // As the kubelet mounts both.
    let (resolv, hosts) = (
        directory.path().join("resolv.conf"),
        directory.path().join("hosts"),
    );
    std::fs::write(&resolv, format!("nameserver {}\n", names.local_addr()?.ip()))?;
    std::fs::write(&hosts, "10.1.2.3 by-hosts\n")?;
    let mount = |from: &Path, to: &str| {
        format!(
            "--mount=type=bind,src={},dst={to},options=rbind:ro",
            from.display()
        )
    };
    let options = [mount(&resolv, "/etc/resolv.conf"), mount(&hosts, "/etc/hosts")];
    // The network of this process. By `--net-host`, ctr would also mount this machine's own two files.
    let network = format!("--with-ns=network:/proc/{}/ns/net", std::process::id());
    let image = name(NO_REPOSITORY, "cordonhold-agent");
    let words = ["/usr/bin/cordonhold-agent", "api.example.test", "by-hosts"];
    let said = containerd
        .run(&image, &[&network, &options[0], &options[1]], &words)
        .await?;
    ensure!(said.contains("api.example.test is Ok([127.83.0.2:80])"), "{said}");
    ensure!(said.contains("by-hosts is Ok([10.1.2.3:80])"), "{said}");
    Ok(())
}

/// Runs `cargo images` with these words after `--from DIRECTORY --push`, as this user. Without a login file of the machine's user.
async fn pushed(directory: &Path, words: &[&str], password: Option<&str>) -> Result<String> {
    let [images] = build([Program::Images])?;
    let mut line = CommandLine::new(images)
        .args(["--push", "--from"])
        .arg(directory)
        .args(words.iter().copied())
        .env("DOCKER_CONFIG", directory);
    if let Some(password) = password {
        line = line
            .env("CORDONHOLD_REGISTRY_USER", "you")
            .env("CORDONHOLD_REGISTRY_PASSWORD", password);
    }
    line.run("", PATIENCE).await
}

/// What the registry has there.
async fn pulled(registry: &Registry, path: &str, accepts: &str) -> Result<Vec<u8>> {
    use http_body_util::BodyExt as _;
    let client = Client::try_from(Config::new(format!("http://{}", registry.address).parse()?))?;
    let request = http::Request::get(format!("/v2/team/{path}"))
        .header("accept", accepts)
        // `you:s3cret`
        .header("authorization", "Basic eW91OnMzY3JldA==")
        .body(Body::empty())?;
    let answer = client.send(request).await?;
    ensure!(answer.status().is_success(), "{path}: HTTP {}", answer.status());
    Ok(answer.into_body().collect().await?.to_bytes().to_vec())
}

#[tokio::test]
async fn a_real_registry_takes_the_images_of_all_cpus_under_one_tag_and_gives_them_back() -> Result<()> {
    let [leash] = build([Program::Leash])?;
    let directory = tempfile::tempdir()?;
    let kennel = Kennel::new(&leash, directory.path())?;
    let registry = Registry::start(&kennel, directory.path(), "registry", Some(USERS)).await?;
    let made = written(directory.path(), &vec![7; 300_000], &Arch::ALL)?;
    let repository = format!("--repository={}/team", registry.address);

    let first = pushed(directory.path(), &[&repository], Some("s3cret")).await?;
    // What is there is pushed again without a change.
    ensure!(pushed(directory.path(), &[&repository], Some("s3cret")).await? == first);
    for row in with_image() {
        let index = pulled(
            &registry,
            &format!("{}/manifests/{VERSION}", row.name),
            image::INDEX,
        )
        .await?;
        let line = format!(
            "{}/team/{}:{VERSION}@{}",
            registry.address,
            row.name,
            sha256(&index)
        );
        ensure!(first.lines().any(|said| said == line), "{line} is not in {first}");
        let index: Value = serde_json::from_slice(&index)?;
        let arches: Vec<&Value> = index["manifests"]
            .as_array()
            .context("no list")?
            .iter()
            .map(|manifest| &manifest["platform"]["architecture"])
            .collect();
        ensure!(arches == ["amd64", "arm64"], "{index}");
    }
    for (tar, image) in made {
        let name = if tar.display().to_string().contains("agent") {
            "cordonhold-agent"
        } else {
            "cordonhold-webhook"
        };
        for (digest, bytes) in &image.blobs {
            let (kind, accepts) = if *digest == image.manifest.digest {
                ("manifests", image::MANIFEST)
            } else {
                ("blobs", "*/*")
            };
            let got = pulled(&registry, &format!("{name}/{kind}/{digest}"), accepts).await?;
            ensure!(got == *bytes, "{name}: {kind} {digest}");
        }
    }
    Ok(())
}

/// Checks that a push fails with one line that has these parts.
async fn refused(directory: &Path, words: &[&str], password: Option<&str>, parts: &[&str]) -> Result<()> {
    let error = pushed(directory, words, password).await;
    let text = error.err().context("it was pushed")?.to_string();
    // Before it stands what was run, and how it ended.
    let (_, said) = text.split_once("): ").context("it does not say how it ended")?;
    for part in parts {
        ensure!(said.contains(part), "{part} is not in {said}");
    }
    ensure!(
        said.trim().lines().count() == 1 && !said.contains("s3cret"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn a_push_that_cannot_be_is_refused_in_one_line_with_the_fix() -> Result<()> {
    let [leash] = build([Program::Leash])?;
    let directory = tempfile::tempdir()?;
    let kennel = Kennel::new(&leash, directory.path())?;
    let registry = Registry::start(&kennel, directory.path(), "registry", Some(USERS)).await?;
    let made = written(directory.path(), &vec![7; 300_000], &[Arch::Amd64])?;
    let repository = format!("--repository={}/team", registry.address);
    let refused =
        async |password, parts: &[&str]| refused(directory.path(), &[&repository], password, parts).await;
    refused(
        None,
        &[
            "a push without a login",
            "docker login",
            "CORDONHOLD_REGISTRY_USER",
        ],
    )
    .await?;
    refused(Some("wrong"), &["the login of 'you'", "docker login"]).await?;

    // Of the last file, so that the first would have been sent if each was sent once it was read.
    let (tar, _) = made.last().context("nothing was made")?;
    let whole = std::fs::read(tar)?;
    std::fs::write(tar, &whole[..whole.len() / 2])?;
    refused(
        Some("s3cret"),
        &[
            "cordonhold-webhook-amd64.tar is cut off",
            "make it again with `cargo images`",
        ],
    )
    .await?;
    std::fs::remove_file(tar)?;
    refused(Some("s3cret"), &["has no image of cordonhold-webhook", "--from"]).await?;
    let agent = format!("cordonhold-agent/manifests/{VERSION}");
    let found = pulled(&registry, &agent, image::INDEX).await;
    let found = found.err().context("a part was pushed")?.to_string();
    ensure!(found.contains("HTTP 404"), "{found}");
    Ok(())
}

#[tokio::test]
async fn a_tag_with_something_else_is_replaced_only_if_that_is_asked_for() -> Result<()> {
    let [leash] = build([Program::Leash])?;
    let directory = tempfile::tempdir()?;
    let kennel = Kennel::new(&leash, directory.path())?;
    let registry = Registry::start(&kennel, directory.path(), "registry", Some(USERS)).await?;
    let repository = format!("--repository={}/team", registry.address);
    let login = Some("s3cret");
    drop(written(directory.path(), b"program", &[Arch::Amd64])?);
    let first = pushed(directory.path(), &[&repository], login).await?;
    drop(written_from("two", directory.path(), b"program", &[Arch::Amd64])?);
    let parts = [
        "team/cordonhold-agent:",
        "is there already with other content (sha256:",
        "--overwrite",
    ];
    refused(directory.path(), &[&repository], login, &parts).await?;
    let tag = format!("cordonhold-agent/manifests/{VERSION}");
    let kept = pulled(&registry, &tag, image::INDEX).await?;
    ensure!(first.contains(&sha256(&kept)), "{first}");
    let second = pushed(directory.path(), &[&repository, "--overwrite"], login).await?;
    let replaced = pulled(&registry, &tag, image::INDEX).await?;
    ensure!(
        second.contains(&sha256(&replaced)) && kept != replaced,
        "{second}"
    );
    Ok(())
}
