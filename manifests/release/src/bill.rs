//! The bill of materials of a program, in `CycloneDX`: what is linked into it, which is crates and three libraries.
//!
//! It comes from what `cargo tree` says of this program alone, for its CPU: what tests and build scripts need is not in it.
//! The JSON is our own. The crate `cyclonedx-bom` brings thirty others, and two libraries for times.
//! Not here: which libraries ([`crate::linked`]); known vulnerabilities, which scanners look up by such a bill.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::image::sha256;
use crate::linked::{Library, Linked};
use crate::program::{Arch, Program};

/// Why there is no bill.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum BillError {
    #[error("`cargo tree` failed: {0}: run `cargo fetch --locked` where crates.io is reached")]
    Tree(String),
    #[error("failed to read {file}: {problem}: take it from the clone again, with `git checkout`")]
    File { file: String, problem: String },
}

/// A package in the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
    is_ours: bool,
}

/// The packages that each package needs. The first is the program's own.
#[derive(Debug, Default)]
struct Tree {
    packages: Vec<Package>,
    needs: BTreeMap<String, BTreeSet<String>>,
}

const FORMAT: &str = "{p}|{l}";

/// The bill of a program for a CPU, as JSON. `program` are its bytes.
pub fn make(
    row: &Program,
    arch: Arch,
    root: &Path,
    program: &[u8],
    linked: &Linked,
) -> Result<String, BillError> {
    let tree = Tree::parse(&cargo_tree(row, arch, root)?)?;
    let lock = read(&root.join("Cargo.lock"))?;
    let checksums = checksums(&String::from_utf8_lossy(&lock));
    let bill = tree.bill(&sha256(program), &checksums, linked);
    let mut text = serde_json::to_string_pretty(&bill).map_err(|error| BillError::Tree(error.to_string()))?;
    text.push('\n');
    Ok(text)
}

fn read(path: &Path) -> Result<Vec<u8>, BillError> {
    std::fs::read(path).map_err(|error| BillError::File {
        file: path.display().to_string(),
        problem: error.to_string(),
    })
}

fn cargo_tree(row: &Program, arch: Arch, root: &Path) -> Result<String, BillError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args([
            "tree",
            "--locked",
            "--package",
            row.package,
            "--target",
            &arch.target(),
        ])
        .args([
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "depth",
            "--format",
            FORMAT,
        ])
        .output()
        .map_err(|error| BillError::Tree(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(BillError::Tree(
            said.split_whitespace().collect::<Vec<_>>().join(" "),
        ))
    }
}

impl Tree {
    /// Reads lines such as `2serde v1.0.229|MIT OR Apache-2.0`, of which the number is the depth. A package whose needs were listed before
    /// ends with ` (*)`.
    fn parse(text: &str) -> Result<Tree, BillError> {
        let mut tree = Tree::default();
        let mut above: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (depth, package) =
                package(line).ok_or_else(|| BillError::Tree(format!("it printed {line:?}")))?;
            let id = package.id();
            above.truncate(depth);
            if let Some(parent) = above.last() {
                let _ = tree.needs.entry(parent.clone()).or_default().insert(id.clone());
            }
            above.push(id);
            if !tree.packages.contains(&package) {
                tree.packages.push(package);
            }
        }
        Ok(tree)
    }

    fn bill(&self, digest: &str, checksums: &BTreeMap<String, String>, linked: &Linked) -> Value {
        let (ours, others) = self
            .packages
            .split_first()
            .map_or((None, &[][..]), |(a, b)| (Some(a), b));
        let mut others = others.to_vec();
        others.sort();
        let hash =
            |content: &str| json!([{"alg": "SHA-256", "content": content.trim_start_matches("sha256:")}]);
        let mut components: Vec<Value> = others
            .iter()
            .map(|package| {
                let mut component = package.component("library");
                if let Some(checksum) = checksums.get(&package.id()) {
                    component["hashes"] = hash(checksum);
                }
                component
            })
            .collect();
        let libraries = linked.libraries();
        components.extend(libraries.iter().map(library));
        let mut program = ours.map_or(Value::Null, |package| package.component("application"));
        program["hashes"] = hash(digest);
        let mut dependencies: Vec<Value> = self
            .packages
            .iter()
            .map(|package| {
                let mut needs: Vec<&str> = self
                    .needs
                    .get(&package.id())
                    .into_iter()
                    .flatten()
                    .map(String::as_str)
                    .collect();
                if Some(package) == ours {
                    needs.extend(libraries.iter().map(|library| library.name));
                }
                json!({"ref": package.id(), "dependsOn": needs})
            })
            .collect();
        dependencies.extend(libraries.iter().map(|library| json!({"ref": library.name})));
        json!({
            "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
            "metadata": {"component": program},
            "components": components,
            "dependencies": dependencies,
        })
    }
}

impl Package {
    fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn component(&self, kind: &str) -> Value {
        let mut component = json!({
            "type": kind, "bom-ref": self.id(), "name": self.name, "version": self.version,
            // Old packages separate the licences between which one may choose by a slash.
            "licenses": [{"expression": self.licence.replace('/', " OR ")}],
        });
        // Our own packages are in no registry: an address there would name somebody else's.
        if !self.is_ours {
            component["purl"] =
                format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B")).into();
        }
        component
    }
}

/// A library that is in no registry of crates.
fn library(library: &Library<'_>) -> Value {
    let mut component = json!({
        "type": "library", "bom-ref": library.name, "name": library.name, "version": library.version,
        "licenses": [{"expression": library.licence}],
    });
    if let Some(description) = library.description {
        component["description"] = description.into();
    }
    component
}

fn package(line: &str) -> Option<(usize, Package)> {
    let digits = line.find(|c: char| !c.is_ascii_digit())?;
    let (depth, rest) = line.split_at(digits);
    let (package, licence) = rest.trim_end_matches(" (*)").split_once('|')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let package = Package {
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.to_owned(),
        // A path in brackets.
        is_ours: words.next().is_some_and(|word| word.starts_with("(/")),
    };
    Some((depth.parse().ok()?, package))
}

/// The checksums of the packages that come from a registry, from the text of Cargo.lock.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let mut values = package
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            values.next().map(|value| value.trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            drop(found.insert(format!("{name}@{version}"), checksum));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linked::Glibc;
    use crate::program::PROGRAMS;

    fn linked() -> Linked {
        Linked {
            glibc: Glibc {
                version: "2.36".to_owned(),
                distribution: "Debian GLIBC 2.36-9".to_owned(),
            },
            gcc: "12.2.0".to_owned(),
            rust: "1.95.0".to_owned(),
        }
    }

    const TREE: &str = "0cordonhold-agent v0.1.0 (/src/agent)|Apache-2.0
1serde v1.0.229|MIT OR Apache-2.0
2serde_core v1.0.229|MIT OR Apache-2.0
1aws-lc-sys v0.40.0+x|ISC/MIT
1serde v1.0.229|MIT OR Apache-2.0 (*)
";

    #[test]
    fn a_bill_has_each_package_once_with_what_it_needs() {
        let tree = Tree::parse(TREE).unwrap();
        let checksums = checksums(
            "version = 4\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.229\"\nsource = \"x\"\nchecksum = \"abc\"\ndependencies = [\n \"serde_core\",\n]\n",
        );
        let bill = tree.bill("sha256:def", &checksums, &linked());
        let names: Vec<&str> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|component| component["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["aws-lc-sys", "serde", "serde_core", "glibc", "libgcc", "rust-std"]
        );
        assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], "def");
        assert_eq!(bill["metadata"]["component"].get("purl"), None);
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "ISC OR MIT");
        assert_eq!(bill["components"][0]["purl"], "pkg:cargo/aws-lc-sys@0.40.0%2Bx");
        assert_eq!(bill["components"][1]["hashes"][0]["content"], "abc");
        assert_eq!(
            bill["dependencies"][0],
            json!({"ref": "cordonhold-agent@0.1.0", "dependsOn": ["aws-lc-sys@0.40.0+x", "serde@1.0.229", "glibc", "libgcc", "rust-std"]})
        );
        // Only what is in the bill may be referred to, and only the program needs the libraries.
        assert_eq!(
            bill["dependencies"][1],
            json!({"ref": "serde@1.0.229", "dependsOn": ["serde_core@1.0.229"]})
        );
        let last = bill["dependencies"].as_array().unwrap().last().unwrap();
        assert_eq!(last, &json!({"ref": "rust-std"}));
    }

    /// With the real `cargo tree`: a package that only tests need is in no bill, and each of a registry has its checksum.
    #[test]
    fn the_bill_of_a_program_has_what_is_linked_into_it() {
        let root = crate::source::root();
        for row in &PROGRAMS {
            let bill = make(row, Arch::Amd64, &root, b"", &linked()).unwrap();
            let bill: Value = serde_json::from_str(&bill).unwrap();
            assert_eq!(bill["metadata"]["component"]["name"], row.package);
            let components = bill["components"].as_array().unwrap();
            let find = |name: &str| components.iter().find(|component| component["name"] == name);
            assert!(find("kube-client").is_some() && find("aws-lc-sys").is_some());
            for (name, version) in [("glibc", "2.36"), ("libgcc", "12.2.0"), ("rust-std", "1.95.0")] {
                assert_eq!(find(name).unwrap()["version"], version);
            }
            assert_eq!(find("glibc").unwrap()["description"], "Debian GLIBC 2.36-9");
            for absent in ["proptest", "stateright", "cordonhold-tests", "tempfile"] {
                assert!(find(absent).is_none(), "{absent} is in the bill of {}", row.name);
            }
            for component in components
                .iter()
                .filter(|component| component.get("purl").is_some())
            {
                assert!(component.get("hashes").is_some(), "{component}");
                assert_ne!(component["licenses"][0]["expression"], "", "{component}");
            }
        }
    }
}
