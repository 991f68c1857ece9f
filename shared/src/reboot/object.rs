//! An object of the API server that an expression is asked about before a reboot, as `--blocker-object` names it.
//!
//! Not here: the expression itself ([`super::expression`]), and how the object is found and read.

use std::fmt;
use std::str::FromStr;

use crate::names::is_namespace;
use crate::quote::{QUOTED_MAX, always_quoted};
use crate::reboot::expression::Expression;

/// What `--blocker-object` says: a reboot is postponed while the expression is true of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRule {
    /// Which object.
    pub object: ObjectName,
    /// What is asked about it.
    pub expression: Expression,
}

/// An object by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Its API group; empty for the core group.
    pub group: String,
    /// The version in which it is read.
    pub version: String,
    /// Its kind, such as `ConfigMap`.
    pub kind: String,
    /// Its namespace; `None` for an object of the whole cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// Longest name of an object and of an API group (kubernetes/apimachinery: pkg/util/validation).
const NAME_MAX: usize = 253;
const SHAPE: &str = "write 'APIVERSION/KIND[/NAMESPACE]/NAME: CEL', such as 'v1/ConfigMap/default/site: self.data.reboots == \"no\"'";

impl ObjectName {
    /// The Node of this name.
    pub fn node(name: &str) -> ObjectName {
        ObjectName {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Node".to_owned(),
            namespace: None,
            name: name.to_owned(),
        }
    }

    /// Its group and version, as `apiVersion` names them.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The path under which the API server lists the kinds of its version.
    pub fn version_path(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }

    /// The path of its collection, whose resource has this plural. The error says that the reference has a namespace too many, or
    /// none.
    pub fn collection_path(&self, plural: &str, is_namespaced: bool) -> Result<String, String> {
        let base = self.version_path();
        match (&self.namespace, is_namespaced) {
            (Some(namespace), true) => Ok(format!("{base}/namespaces/{namespace}/{plural}")),
            (None, false) => Ok(format!("{base}/{plural}")),
            (None, true) => Err(format!(
                "a {} is in a namespace: name it, as in {}/{}/NAMESPACE/{}",
                self.kind,
                self.api_version(),
                self.kind,
                self.name
            )),
            (Some(namespace), false) => Err(format!(
                "a {} is in no namespace: leave out {namespace}, as in {}/{}/{}",
                self.kind,
                self.api_version(),
                self.kind,
                self.name
            )),
        }
    }

    /// The permission to read it, as a rule of RBAC, and where the rule belongs. Its resource has this plural.
    pub fn permission(&self, plural: &str) -> String {
        let (group, name) = (&self.group, &self.name);
        let role = match &self.namespace {
            Some(namespace) => format!("a Role and a RoleBinding in the namespace {namespace}"),
            None => "a ClusterRole and a ClusterRoleBinding".to_owned(),
        };
        format!(
            "{{apiGroups: [\"{group}\"], resources: [\"{plural}\"], resourceNames: [\"{name}\"], verbs: [\"get\"]}} in {role}"
        )
    }
}

/// As `--blocker-object` names it.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.api_version(), self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// The flag's value.
impl fmt::Display for ObjectRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.expression)
    }
}

/// The reference ends at the first blank, and with a colon. So a colon in a name, and one in the expression, belong to these.
impl FromStr for ObjectRule {
    type Err = String;

    fn from_str(text: &str) -> Result<ObjectRule, String> {
        let text = text.trim();
        let parts = text
            .split_once(char::is_whitespace)
            .and_then(|(reference, expression)| Some((reference.strip_suffix(':')?, expression)));
        let Some((reference, expression)) = parts else {
            return Err(format!(
                "{}: no colon and blank between the object and the expression: {SHAPE}",
                always_quoted(text, QUOTED_MAX)
            ));
        };
        Ok(ObjectRule {
            object: reference.parse()?,
            expression: Expression::parse(expression.trim())?,
        })
    }
}

/// The first part is a version such as `v1` in the core group, and otherwise a group, which its version follows. No group has a name
/// like a version. What is left is the kind, and the name, with or without a namespace.
impl FromStr for ObjectName {
    type Err = String;

    fn from_str(text: &str) -> Result<ObjectName, String> {
        let wrong = |why: &str| format!("{}: {why}: {SHAPE}", always_quoted(text, QUOTED_MAX));
        let parts: Vec<&str> = text.split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            [version, rest @ ..] if is_version(version) => ("", *version, rest),
            [group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(wrong("it names no object")),
        };
        let is_core = group.is_empty();
        if !is_core && (!is_version(version) || !is_group(group)) {
            return Err(wrong(
                "it does not begin with an API version, such as v1 or ceph.rook.io/v1",
            ));
        }
        let (kind, namespace, name) = match rest {
            [kind, name] => (*kind, None, *name),
            [kind, namespace, name] => (*kind, Some(*namespace), *name),
            _ => return Err(wrong("it needs a kind and a name after the API version")),
        };
        if !is_kind(kind) {
            return Err(wrong(
                "after the API version comes the kind, which begins with a capital, such as ConfigMap",
            ));
        }
        if !namespace.is_none_or(is_namespace) {
            return Err(wrong("no namespace can have that name"));
        }
        if !is_path_part(name) {
            return Err(wrong("no object can have that name"));
        }
        Ok(ObjectName {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

/// Whether this is a version as Kubernetes orders them: `v1`, `v2beta3` (kubernetes/apimachinery: pkg/version/helpers.go).
fn is_version(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix('v').is_some_and(|rest| {
        let parts = ["alpha", "beta"].iter().find_map(|level| rest.split_once(level));
        match parts {
            Some((major, minor)) => is_number(major) && is_number(minor),
            None => is_number(rest),
        }
    })
}

fn is_group(text: &str) -> bool {
    text.len() <= NAME_MAX && text.split('.').all(is_namespace)
}

fn is_kind(text: &str) -> bool {
    text.len() <= NAME_MAX
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether this can be a part of a path that needs no escapes. Names of RBAC's objects have colons.
fn is_path_part(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_allowed) && !matches!(text, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ObjectName {
        text.parse().unwrap()
    }

    #[test]
    fn a_reference_is_read_in_each_of_its_four_shapes() {
        for (text, group, version, kind, namespace, name) in [
            ("v1/Namespace/prod", "", "v1", "Namespace", None, "prod"),
            (
                "v1/ConfigMap/kube-system/site",
                "",
                "v1",
                "ConfigMap",
                Some("kube-system"),
                "site",
            ),
            (
                "rbac.authorization.k8s.io/v1/ClusterRole/system:node",
                "rbac.authorization.k8s.io",
                "v1",
                "ClusterRole",
                None,
                "system:node",
            ),
            (
                "ceph.rook.io/v1/CephCluster/rook-ceph/rook-ceph",
                "ceph.rook.io",
                "v1",
                "CephCluster",
                Some("rook-ceph"),
                "rook-ceph",
            ),
            (
                "apps/v1/Deployment/default/web.v1",
                "apps",
                "v1",
                "Deployment",
                Some("default"),
                "web.v1",
            ),
            (
                "example.com/v1beta2/Thing/v1",
                "example.com",
                "v1beta2",
                "Thing",
                None,
                "v1",
            ),
            (
                "example.com/v2alpha1/Thing/v1/v1",
                "example.com",
                "v2alpha1",
                "Thing",
                Some("v1"),
                "v1",
            ),
        ] {
            let object = parsed(text);
            assert_eq!(
                (
                    object.group.as_str(),
                    object.version.as_str(),
                    object.kind.as_str()
                ),
                (group, version, kind),
                "{text}"
            );
            assert_eq!(
                (object.namespace.as_deref(), object.name.as_str()),
                (namespace, name),
                "{text}"
            );
            assert_eq!(object.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_named_with_the_shape() {
        for (text, says) in [
            ("", "names no object"),
            ("site", "names no object"),
            ("v1", "needs a kind and a name"),
            ("v1/ConfigMap", "needs a kind and a name"),
            ("v1/ConfigMap/a/b/c", "needs a kind and a name"),
            ("apps/v1/Deployment", "needs a kind and a name"),
            ("ConfigMap/default/site", "begin with an API version"),
            ("apps/Deployment/default/web", "begin with an API version"),
            ("Apps/v1/Deployment/default/web", "begin with an API version"),
            ("v/ConfigMap/default/site", "begin with an API version"),
            ("vx/ConfigMap/default/site", "begin with an API version"),
            ("vbeta1/ConfigMap/default/site", "begin with an API version"),
            ("v1/configmaps/default/site", "begins with a capital"),
            ("v1/ConfigMap/Default/site", "no namespace"),
            ("v1/ConfigMap//site", "no namespace"),
            ("v1/ConfigMap/default/", "no object can"),
            ("v1/ConfigMap/default/..", "no object can"),
            ("v1/ConfigMap/default/a%2fb", "no object can"),
            ("v1/ConfigMap/default/a?b", "no object can"),
        ] {
            let why = text.parse::<ObjectName>().unwrap_err();
            assert!(
                why.contains(says) && why.contains("APIVERSION/KIND[/NAMESPACE]/NAME"),
                "{text}: {why}"
            );
        }
    }

    #[test]
    fn the_reference_ends_with_the_colon_before_the_first_blank() {
        for (text, object, expression) in [
            (
                "v1/ConfigMap/a/b: self.x == 'a: b'",
                "v1/ConfigMap/a/b",
                "self.x == 'a: b'",
            ),
            (
                "v1/ConfigMap/a/b:   self.x ? true : false ",
                "v1/ConfigMap/a/b",
                "self.x ? true : false",
            ),
            (
                "rbac.authorization.k8s.io/v1/ClusterRole/system:x:\n self.y",
                "rbac.authorization.k8s.io/v1/ClusterRole/system:x",
                "self.y",
            ),
        ] {
            let rule: ObjectRule = text.parse().unwrap();
            assert_eq!(
                (
                    rule.object.to_string().as_str(),
                    rule.expression.to_string().as_str()
                ),
                (object, expression)
            );
            assert_eq!(rule.to_string(), format!("{object}: {expression}"));
        }
        for (text, says) in [
            ("v1/ConfigMap/a/b", "no colon and blank"),
            ("v1/ConfigMap/a/b:self.x", "no colon and blank"),
            ("v1/ConfigMap/a/b self.x ? true : false", "no colon and blank"),
            ("self.x == 1", "no colon and blank"),
            ("v1/ConfigMap/a/b: self.x ==", "line 1, column"),
            ("v1/ConfigMap/a/b: x == 1", "nothing is called x"),
        ] {
            let why = text.parse::<ObjectRule>().unwrap_err();
            assert!(why.contains(says) && !why.contains('\n'), "{text}: {why}");
        }
    }

    #[test]
    fn an_object_has_a_path_and_a_permission() {
        let ceph = parsed("ceph.rook.io/v1/CephCluster/rook-ceph/main");
        assert_eq!(ceph.version_path(), "/apis/ceph.rook.io/v1");
        assert_eq!(
            ceph.collection_path("cephclusters", true).unwrap(),
            "/apis/ceph.rook.io/v1/namespaces/rook-ceph/cephclusters"
        );
        assert!(
            ceph.collection_path("cephclusters", false)
                .unwrap_err()
                .contains("leave out rook-ceph")
        );
        assert_eq!(
            ceph.permission("cephclusters"),
            "{apiGroups: [\"ceph.rook.io\"], resources: [\"cephclusters\"], resourceNames: [\"main\"], verbs: [\"get\"]} \
             in a Role and a RoleBinding in the namespace rook-ceph"
        );
        let namespace = parsed("v1/Namespace/prod");
        assert_eq!(namespace.version_path(), "/api/v1");
        assert_eq!(
            namespace.collection_path("namespaces", false).unwrap(),
            "/api/v1/namespaces"
        );
        assert!(
            namespace
                .collection_path("namespaces", true)
                .unwrap_err()
                .contains("v1/Namespace/NAMESPACE/prod")
        );
        assert!(namespace.permission("namespaces").contains("apiGroups: [\"\"]"));
        assert!(
            namespace
                .permission("namespaces")
                .ends_with("in a ClusterRole and a ClusterRoleBinding")
        );
    }
}
