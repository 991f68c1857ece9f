//! What keeps the webhook configurations and the policies themselves from being changed and deleted through the API: a policy that only a file of
//! the API server can carry, because no policy of the API is asked about policies and webhook configurations.

use super::{all_of, any_of, in_parentheses, indented, not};

/// Whoever is in this group may change and delete them. Nobody is in it unless he asks for it, by impersonation.
pub(crate) const ADMINS: &str = "cordonhold:admission-admins";
/// Whoever may write a `caBundle`: our `certs`, in the namespace of the base.
const CERTS: &str = "system:serviceaccount:cordonhold:cordonhold-certs";
/// The fields of a webhook that decide which requests go to it, and what becomes of them: all but its `caBundle`.
const FIELDS: [&str; 12] = [
    "clientConfig.?service",
    "clientConfig.?url",
    "?rules",
    "?failurePolicy",
    "?matchPolicy",
    "?matchConditions",
    "?namespaceSelector",
    "?objectSelector",
    "?sideEffects",
    "?timeoutSeconds",
    "?admissionReviewVersions",
    "?reinvocationPolicy",
];

/// Whoever asks is not in [`ADMINS`].
pub(crate) fn not_by_an_admin() -> String {
    format!("!('{ADMINS}' in request.userInfo.?groups.orValue([]))")
}

/// Whoever may write a `caBundle`.
pub(crate) fn writers() -> String {
    super::quoted(&[CERTS])
}

/// A deletion of a whole collection names no object in its request, so the name is the stored object's.
pub(crate) fn is_ours() -> String {
    any_of(
        &[
            "oldObject.metadata.name == 'cordonhold'",
            "oldObject.metadata.name.startsWith('cordonhold-')",
        ]
        .map(str::to_owned),
    )
}

/// An update that changes nothing that matters passes, so that programs which apply the same again and again see no error.
pub(crate) fn stays_the_same() -> String {
    let same = |field: &str| format!("w.{field} == o.{field}");
    let fields = FIELDS.map(same);
    let one = all_of(&[vec!["o.name == w.name".to_owned()], fields.to_vec()].concat());
    let exists = format!("oldObject.webhooks.exists(o,\n{}\n)", indented(&one));
    let but_for_bundles = all_of(&[
        "request.userInfo.username in variables.writers".to_owned(),
        "object.?webhooks.orValue([]).size() == oldObject.?webhooks.orValue([]).size()".to_owned(),
        format!("object.?webhooks.orValue([]).all(w,\n{}\n)", indented(&exists)),
    ]);
    all_of(&[
        not("request.operation == 'DELETE'"),
        "object.?spec == oldObject.?spec".to_owned(),
        in_parentheses(&any_of(&[
            "object.?webhooks == oldObject.?webhooks".to_owned(),
            in_parentheses(&but_for_bundles),
        ])),
    ])
}
