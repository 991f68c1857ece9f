//! The policies as files of the API server (`--admission-control-config-file`, Kubernetes 1.37): nobody can change or delete them through the API.
//! Beside them, a policy that keeps the webhook configurations and the policies in the API as they are.
//!
//! Not here: what the policies decide ([`crate::cel`]).

use serde_json::json;

use crate::cel::guard;
use crate::chart::{self, File, Release, RenderError, WRITTEN};
use crate::kustomize::NAMESPACE;
use crate::values::Values;

/// What the names of everything in such a file end with (k8s.io/apiserver: pkg/admission/plugin/manifest/validation.go).
const SUFFIX: &str = ".static.k8s.io";
/// Where the API server of a kubeadm cluster can read files without another mount.
const DIRECTORY: &str = "/etc/kubernetes/pki/cordonhold-admission";

/// The files, with their paths below `manifests/`. The error: a template cannot be rendered.
pub(crate) fn files() -> Result<Vec<File>, RenderError> {
    let file = |name: &str, text: String| File {
        name: format!("static-admission/{name}"),
        text: format!("{WRITTEN}{text}"),
    };
    Ok(vec![
        file("admission-configuration.yaml", configuration()),
        file("policies/hold.yaml", with_suffix(&policies()?)),
        file("policies/guard.yaml", guard()),
    ])
}

fn configuration() -> String {
    format!(
        "# For --admission-control-config-file of the API server: put what it has into the file that you have already.
# staticManifestsDir is a directory that the API server can read, with the files of policies/ in it, and no others.
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: ValidatingAdmissionPolicy
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: ValidatingAdmissionPolicyConfiguration
      staticManifestsDir: {DIRECTORY}
"
    )
}

/// The chart's policies, which deny.
fn policies() -> Result<String, RenderError> {
    let values =
        json!({"policy": {"enabled": true}, "webhook": {"mode": "enforce"}, "kured": {"foundBy": "webhook"}});
    let values = Values::with(values).map_err(RenderError::Values)?;
    let release = Release {
        name: "cordonhold".to_owned(),
        namespace: NAMESPACE.to_owned(),
    };
    let rendered = chart::render(&values, &release)?;
    let policies = rendered.into_iter().filter(|file| file.name == "policy.yaml");
    let lines: Vec<String> = policies
        .flat_map(|file| file.text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| !line.trim().is_empty())
        .collect();
    Ok(lines.join("\n") + "\n")
}

/// Gives each object, and what refers to it, the name that it must have in a file. Names are the only keys at this indentation that begin so.
fn with_suffix(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let is_name = line.starts_with("  name: ") || line.starts_with("  policyName: ");
        if is_name {
            format!("{line}{SUFFIX}\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

fn guard() -> String {
    let indented = |text: &str| {
        let lines: Vec<String> = text.lines().map(|line| format!("        {line}")).collect();
        lines.join("\n")
    };
    let name = format!("cordonhold-guard{SUFFIX}");
    format!(
        "# Keeps the webhook configurations and the policies of Cordonhold in the API as they are.
# Take this file out before an upgrade that changes them, before an uninstall, and to turn a webhook or a policy off in an emergency.
# No policy in the API is asked about these kinds; one in a file is.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {name}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    resourceRules:
      - apiGroups: [admissionregistration.k8s.io]
        apiVersions: [v1]
        operations: [UPDATE, DELETE]
        resources:
          - validatingwebhookconfigurations
          - mutatingwebhookconfigurations
          - validatingadmissionpolicies
          - validatingadmissionpolicybindings
          - mutatingadmissionpolicies
          - mutatingadmissionpolicybindings
        scope: Cluster
  matchConditions:
    - name: is-ours
      expression: |-
{}
    # Nobody is in this group unless he asks for it: kubectl --as-group.
    - name: not-by-an-admission-admin
      expression: |-
{}
  variables:
    # Who may write a caBundle, and nothing else. With cert-manager, put its cainjector here: system:serviceaccount:cert-manager:cert-manager-cainjector
    # With a certificate of your own (tls.source: secret), put the user here who writes its CA.
    - name: writers
      expression: |-
{}
  validations:
    - expression: |-
{}
      reason: Forbidden
      message: >-
        guarded: a policy in a file of the API server ({name}) keeps what holds nodes cordoned from being changed and deleted.
        To do it on purpose, add to the command: --as=admin --as-group=system:masters --as-group={}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {name}
spec:
  policyName: {name}
  validationActions: [Deny]
",
        indented(&guard::is_ours()),
        indented(&guard::not_by_an_admin()),
        indented(&guard::writers()),
        indented(&guard::stays_the_same()),
        guard::ADMINS,
    )
}
