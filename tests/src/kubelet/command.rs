//! Makes a command line of a container: its arguments and environment as a kubelet expands them, and what stands for mounts and addresses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, ObjectFieldSelector, Pod};
use kube::ResourceExt;

use super::network::Address;
use crate::process::CommandLine;

/// Where the ServiceAccount's files are in a container.
pub(super) const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What an argument says to listen on every address.
const EVERY_ADDRESS: &str = "[::]";
/// The flag of an address that a program listens on unless it is told otherwise, and the name of its port in the manifests.
const ADMIN: (&str, &str) = ("--admin-listen", "admin");
/// The flag that every agent's pod has: where it sees its host.
const HOST_ROOT: &str = "--host-root=";

/// What a container's process finds around it.
pub(super) struct Surroundings<'a> {
    pub(super) pod: &'a Pod,
    pub(super) address: Address,
    /// The address of the node.
    pub(super) host: Address,
    /// The API server's address and port.
    pub(super) api_server: (&'a str, &'a str),
    pub(super) kubeconfig: &'a Path,
    /// The directory of each mounted path.
    pub(super) mounts: &'a [(String, PathBuf)],
    /// The arguments that make an agent use the node's machine as its host, in the place of `--host-root`.
    pub(super) host_arguments: &'a [String],
}

impl Surroundings<'_> {
    /// The command line of a container that runs this program.
    pub(super) fn command(&self, container: &Container, program: &Path) -> Result<CommandLine> {
        let environment = self.environment(container)?;
        let mut line = CommandLine::new(program);
        let written = container.args.iter().flatten();
        let arguments: Vec<String> = written
            .map(|argument| self.real(&expand(argument, &environment)))
            .collect();
        let has_admin = arguments.iter().any(|argument| argument.starts_with(ADMIN.0));
        for argument in &arguments {
            line = if argument.starts_with(HOST_ROOT) {
                line.args(self.host_arguments)
            } else {
                line.arg(argument)
            };
        }
        let mut ports = container.ports.iter().flatten();
        if let Some(port) = ports.find(|port| port.name.as_deref() == Some(ADMIN.1) && !has_admin) {
            line = line.arg(format!(
                "{}={}:{}",
                ADMIN.0,
                self.address.real(),
                port.container_port
            ));
        }
        if self.mounts.iter().any(|(path, _)| path == CREDENTIALS) {
            line = line.arg(format!("--kubeconfig={}", self.kubeconfig.display()));
        }
        for (name, value) in environment {
            line = line.env(name, value);
        }
        Ok(line)
    }

    fn environment(&self, container: &Container) -> Result<BTreeMap<String, String>> {
        let (host, port) = self.api_server;
        let mut all: BTreeMap<String, String> = [
            ("KUBERNETES_SERVICE_HOST".to_owned(), host.to_owned()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_owned()),
            ("HOSTNAME".to_owned(), self.hostname()),
        ]
        .into();
        for variable in container.env.iter().flatten() {
            let value = self
                .value(variable, &all)
                .with_context(|| format!("the variable {}", variable.name))?;
            drop(all.insert(variable.name.clone(), value));
        }
        Ok(all)
    }

    /// The pod's name, or on the host's network the node's.
    fn hostname(&self) -> String {
        let node = self
            .pod
            .spec
            .as_ref()
            .filter(|spec| spec.host_network == Some(true));
        node.and_then(|spec| spec.node_name.clone())
            .unwrap_or_else(|| self.pod.name_any())
    }

    fn value(&self, variable: &EnvVar, before: &BTreeMap<String, String>) -> Result<String> {
        let Some(source) = &variable.value_from else {
            return Ok(expand(variable.value.as_deref().unwrap_or_default(), before));
        };
        let field = source.field_ref.as_ref().context("it is not read from a field")?;
        field_of(field, self.pod, self.address, self.host)
    }

    /// An argument with a real address and with real paths.
    fn real(&self, argument: &str) -> String {
        let real = self.address.real().to_string();
        let mut argument = argument
            .replace(EVERY_ADDRESS, &real)
            .replace(&self.address.shown().to_string(), &real);
        for (path, directory) in self.mounts {
            argument = argument.replace(&format!("{path}/"), &format!("{}/", directory.display()));
        }
        argument
    }
}

/// The value of a field of the pod, by the downward API.
pub(super) fn field_of(
    field: &ObjectFieldSelector,
    pod: &Pod,
    address: Address,
    host: Address,
) -> Result<String> {
    let spec = pod.spec.as_ref().context("a pod without a spec")?;
    Ok(match field.field_path.as_str() {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.podIP" => address.shown().to_string(),
        "status.hostIP" => host.shown().to_string(),
        other => bail!("the field {other} is not known here"),
    })
}

/// Replaces `$(NAME)` by the variable of that name. `$$` is one `$`, and an unknown name stays as it is
/// (kubernetes/kubernetes: `third_party/forked/golang/expansion`).
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let name = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        match name.and_then(|(name, after)| Some((variables.get(name)?, after))) {
            Some((value, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            None => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_as_by_a_kubelet() {
        let variables = [("NODE_ID".to_owned(), "node-0".to_owned())].into();
        for (text, expected) in [
            ("--node-id=$(NODE_ID)", "--node-id=node-0"),
            ("$$(NODE_ID)", "$(NODE_ID)"),
            ("$(OTHER) $ $(", "$(OTHER) $ $("),
            ("$(NODE_ID)$(NODE_ID)", "node-0node-0"),
        ] {
            assert_eq!(expand(text, &variables), expected);
        }
    }
}
