//! With kured's own permissions the agent refuses to start and names each missing one. With those that `docs/kured.md` adds, it starts.
//!
//! The command lines and permissions are those of kubereboot/kured 1.23.0 (kured-ds.yaml, kured-rbac.yaml) and of kubereboot/charts,
//! kured 6.1.0, written in a notation of our own.

use serde_json::json;

use super::*;
use crate::api::fake;

/// An installed kured: the command of its container, and the permissions of its ServiceAccount.
struct Installed {
    /// The container's `command` and `args`, joined.
    line: &'static [&'static str],
    rules: &'static [Rule],
}

/// A permission: group, resources and verbs, and the namespace and name, if it is limited to these.
type Rule = (
    &'static str,
    &'static str,
    &'static [&'static str],
    Option<(&'static str, &'static str)>,
);

const MANIFEST: Installed = Installed {
    line: &["/usr/bin/kured", "--reboot-sentinel=/sentinel/reboot-required"],
    rules: &[
        ("", "nodes", &["get", "patch"], None),
        ("", "pods", &["list", "delete", "get"], None),
        ("apps", "daemonsets", &["get"], None),
        ("", "pods/eviction", &["create"], None),
        ("apps", "daemonsets", &["update"], Some(("kube-system", "kured"))),
    ],
};

/// With the chart's own values, for the release `my-release` in the namespace `ops`.
const CHART: Installed = Installed {
    line: &[
        "/usr/bin/kured",
        "--ds-name=my-release-kured",
        "--ds-namespace=ops",
        "--metrics-port=8080",
        "--reboot-sentinel=/sentinel/reboot-required",
        "--reboot-command=/bin/systemctl reboot",
        "--log-format=text",
        "--concurrency=1",
    ],
    rules: &[
        ("", "nodes", &["get", "patch"], None),
        ("", "pods", &["list", "delete", "get"], None),
        ("apps", "daemonsets", &["get"], None),
        ("", "pods/eviction", &["create"], None),
        (
            "apps",
            "daemonsets",
            &["update", "patch"],
            Some(("ops", "my-release-kured")),
        ),
    ],
};

/// The rules that `docs/kured.md` adds to kured's. Each has to be on a line of its own.
fn granted_by_the_page() -> Vec<(String, Vec<String>, Vec<String>)> {
    let page = include_str!("../../../docs/kured.md");
    let list = |line: &str, key: &str| -> Vec<String> {
        let (_, rest) = line.split_once(&format!("{key}: [")).unwrap();
        let (list, _) = rest.split_once(']').unwrap();
        list.split(", ")
            .map(|word| word.trim_matches('"').to_owned())
            .collect()
    };
    let lines = page
        .lines()
        .filter(|line| line.trim_start().starts_with("- {apiGroups:"));
    lines
        .map(|line| {
            let groups = list(line, "apiGroups");
            assert_eq!(groups.len(), 1, "{line}");
            (groups[0].clone(), list(line, "resources"), list(line, "verbs"))
        })
        .collect()
}

impl Installed {
    fn may(&self, asked: &Value, with_the_page: bool) -> bool {
        let of = |key: &str| asked[key].as_str().unwrap().to_owned();
        let resource = match of("subresource").as_str() {
            "" => of("resource"),
            sub => format!("{}/{sub}", of("resource")),
        };
        let place = (of("namespace"), of("name"));
        let by_rules = self.rules.iter().any(|(group, resources, verbs, only)| {
            *group == of("group")
                && *resources == resource
                && verbs.contains(&of("verb").as_str())
                && only.is_none_or(|(namespace, name)| place == (namespace.to_owned(), name.to_owned()))
        });
        let by_page = with_the_page
            && granted_by_the_page().iter().any(|(group, resources, verbs)| {
                *group == of("group") && resources.contains(&resource) && verbs.contains(&of("verb"))
            });
        by_rules || by_page
    }

    /// The rules that hold in a namespace, as a `SelfSubjectRulesReview` shows them.
    fn shown(&self, namespace: &str, with_the_page: bool) -> Value {
        let here = self
            .rules
            .iter()
            .filter(|(.., only)| only.is_none_or(|(of, _)| of == namespace));
        let mut rules: Vec<Value> = here
            .map(|(group, resource, verbs, only)| {
                let names = Vec::from_iter(only.map(|(_, name)| name));
                json!({"apiGroups": [group], "resources": [resource], "verbs": verbs, "resourceNames": names})
            })
            .collect();
        if with_the_page {
            rules.extend(granted_by_the_page().into_iter().map(|(group, resources, verbs)| {
                json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
            }));
        }
        json!({"status": {"resourceRules": rules, "nonResourceRules": [], "incomplete": false}})
    }

    /// Runs the check. Gives its error, if it ends the agent, and every permission that was refused.
    async fn missing(&'static self, with_the_page: bool) -> (Option<String>, Vec<String>) {
        let hidden = self.checked(with_the_page, false).await;
        let (error, asked) = self.checked(with_the_page, true).await;
        assert_eq!(
            (&error, &asked),
            (&hidden.0, &hidden.1),
            "the rules show something else"
        );
        (error, asked)
    }

    /// The same, on an API server that shows its rules or does not.
    async fn checked(&'static self, with_the_page: bool, shows: bool) -> (Option<String>, Vec<String>) {
        let refused = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = std::sync::Arc::clone(&refused);
        let api = fake::api(&self.line[1..], move |path, asked| {
            if path.ends_with("/selfsubjectrulesreviews?") {
                let namespace = asked["spec"]["namespace"].as_str().unwrap();
                let status = if shows { 201 } else { 403 };
                return (status, self.shown(namespace, with_the_page));
            }
            assert_eq!(path, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews?");
            let asked = &asked["spec"]["resourceAttributes"];
            let allowed = self.may(asked, with_the_page);
            assert!(!(shows && allowed), "the rules that were shown grant it: {asked}");
            if !allowed {
                seen.lock()
                    .unwrap()
                    .push(format!("{} {}", asked["verb"], asked["resource"]));
            }
            (201, json!({"status": {"allowed": allowed}}))
        });
        // kured's DaemonSet exists, so `auto` chooses it.
        let checked = check(&api, Carrier::DaemonSet, Wants::default()).await;
        let refused = refused.lock().unwrap().clone();
        (checked.err().map(|error| error.to_string()), refused)
    }
}

#[tokio::test]
async fn found_p3_with_kureds_own_rights_each_missing_permission_is_named() {
    for (kured, place, patch) in [
        (
            &MANIFEST,
            "kube-system/kured",
            ", patch daemonsets kube-system/kured",
        ),
        (&CHART, "ops/my-release-kured", ""),
    ] {
        let (error, _) = kured.missing(false).await;
        let named = format!(
            "(list nodes, watch nodes, watch pods, list daemonsets {place}, watch daemonsets {place}{patch})"
        );
        let error = error.unwrap();
        assert!(error.contains(&named), "{named} is not in: {error}");
        assert!(error.contains("docs/kured.md"), "{error}");
    }
}

#[tokio::test]
async fn found_p3_what_the_page_grants_is_what_is_missing() {
    for kured in [&MANIFEST, &CHART] {
        assert_eq!(kured.missing(true).await, (None, Vec::new()));
    }
    // The page grants nothing more: kured's manifest lacks each of its verbs.
    for (group, resources, verbs) in granted_by_the_page() {
        for (resource, verb) in resources
            .iter()
            .flat_map(|resource| verbs.iter().map(move |verb| (resource, verb)))
        {
            let is_kureds = MANIFEST.rules.iter().any(|(of, name, has, only)| {
                *of == group && name == resource && has.contains(&verb.as_str()) && only.is_none()
            });
            assert!(!is_kureds, "{verb} {resource} is kured's already");
        }
    }
}

/// Manifest and chart both start kured's own path, so the image must have the program there.
#[test]
fn found_p3_the_page_names_the_path_that_kured_is_started_at() {
    let page = include_str!("../../../docs/kured.md");
    for kured in [&MANIFEST, &CHART] {
        assert!(
            page.contains(&format!("`{}`", kured.line[0])),
            "{}",
            kured.line[0]
        );
    }
}
