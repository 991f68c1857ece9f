{{/* Which halves are installed. `mode` says it; everything else asks here. */}}
{{- define "cordonhold.has-webhook" -}}
{{- if ne .Values.mode "agents-only" }}true{{ end -}}
{{- end -}}
{{- define "cordonhold.has-agents" -}}
{{- if ne .Values.mode "protect-kured" }}true{{ end -}}
{{- end -}}
{{- define "cordonhold.protects-kured" -}}
{{- if has .Values.mode (list "protect-kured" "mixed") }}true{{ end -}}
{{- end -}}
{{/* The agents share kured's lock, so that both together keep one budget. */}}
{{- define "cordonhold.locks-on-kured" -}}
{{- if or (eq .Values.mode "mixed") .Values.agent.lockOnDaemonset }}true{{ end -}}
{{- end -}}
{{/* Whether this mode is set for anybody or any reason; the dot has `root` and `mode`. */}}
{{- define "cordonhold.has-mode" -}}
{{- $webhook := .root.Values.webhook -}}
{{- $modes := list $webhook.mode -}}
{{- range $set := list $webhook.modeFor $webhook.modeForUser $webhook.modeForGroup -}}
{{- range $_, $mode := $set -}}{{- $modes = append $modes $mode -}}{{- end -}}
{{- end -}}
{{- if has .mode $modes }}true{{ end -}}
{{- end -}}
{{- define "cordonhold.defers-by-webhook" -}}
{{- if and (include "cordonhold.has-mode" (dict "root" . "mode" "defer")) (has .Values.webhook.deferBy (list "webhook" "both")) }}{{ include "cordonhold.has-webhook" . }}{{ end -}}
{{- end -}}
{{- define "cordonhold.defers-by-policy" -}}
{{- if and (include "cordonhold.has-mode" (dict "root" . "mode" "defer")) (has .Values.webhook.deferBy (list "policy" "both")) }}true{{ end -}}
{{- end -}}
{{/* Whether the policies deny; the modes warn and audit let pass. */}}
{{- define "cordonhold.policy-denies" -}}
{{- if and .Values.policy.enabled (has .Values.webhook.mode (list "enforce" "defer")) }}true{{ end -}}
{{- end -}}
{{- define "cordonhold.makes-certificates" -}}
{{- if eq .Values.tls.source "self" }}{{ include "cordonhold.has-webhook" . }}{{ end -}}
{{- end -}}

{{/* The labels of an object; the dot is its name. */}}
{{- define "cordonhold.labels" -}}
app.kubernetes.io/name: {{ . }}
app.kubernetes.io/part-of: cordonhold
{{- end -}}

{{/* repository:tag, or repository@digest; the dot is one of `images`, and `version` the chart's. */}}
{{- define "cordonhold.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .version .image.tag }}
{{- end -}}
{{- end -}}

{{/* A ServiceAccount of ours as the subject of a binding; the dot has `name` and `namespace`. */}}
{{- define "cordonhold.subject" -}}
- kind: ServiceAccount
  name: {{ .name }}
  namespace: {{ .namespace }}
{{- end -}}

{{/* Where kured's DaemonSet is: `namespace` and `name`, as YAML. Given in `kured`, else looked up in the cluster, else an error. The webhook reads from it
     what ServiceAccount kured's pods have. */}}
{{- define "cordonhold.kured" -}}
{{- if eq .Values.kured.foundBy "webhook" -}}
namespace: ""
name: kured
{{- else if and .Values.kured.namespace .Values.kured.name -}}
namespace: {{ .Values.kured.namespace | quote }}
name: {{ .Values.kured.name | quote }}
{{- else if or .Values.kured.namespace .Values.kured.name -}}
{{- fail "kured.namespace and kured.name go together: set both to the namespace and the name of kured's DaemonSet" -}}
{{- else if not (lookup "v1" "Namespace" "" "kube-system") -}}
{{- fail "mode protect-kured, mode mixed and agent.lockOnDaemonset need kured's place, and there is no cluster to ask here (helm template, Argo CD): set kured.namespace and kured.name to the namespace and the name of kured's DaemonSet" -}}
{{- else -}}
{{- $found := list -}}
{{- range $set := (lookup "apps/v1" "DaemonSet" "" "").items -}}
{{- $labels := default dict $set.metadata.labels -}}
{{- if or (eq $set.metadata.name "kured") (eq (default "" (index $labels "app.kubernetes.io/name")) "kured") (eq (default "" (index $labels "name")) "kured") -}}
{{- $found = append $found $set -}}
{{- end -}}
{{- end -}}
{{- if ne (len $found) 1 -}}
{{- $names := list -}}
{{- range $set := $found -}}{{- $names = append $names (printf "%s/%s" $set.metadata.namespace $set.metadata.name) -}}{{- end -}}
{{- fail (printf "mode protect-kured, mode mixed and agent.lockOnDaemonset need kured's DaemonSet, and %d in this cluster look like it (%s): set kured.namespace and kured.name" (len $found) (join ", " $names)) -}}
{{- end -}}
{{- $kured := first $found -}}
namespace: {{ $kured.metadata.namespace | quote }}
name: {{ $kured.metadata.name | quote }}
{{- end -}}
{{- end -}}

{{/* The annotations that may carry kured's lock, as a CEL list. */}}
{{- define "cordonhold.kured-locks" -}}
{{- if .Values.configuration.lockAnnotation -}}
[{{ .Values.configuration.lockAnnotation | quote }}]
{{- else -}}
{{ include "cordonhold.cel.default-kured-locks" . }}
{{- end -}}
{{- end -}}

{{/* The client side of each webhook; the dot has `namespace` and `path`. No caBundle: whoever issues the certificate writes it. */}}
{{- define "cordonhold.client-config" -}}
service:
  name: cordonhold-webhook
  namespace: {{ .namespace }}
  path: {{ .path }}
  port: 443
{{- end -}}

{{/* What a webhook looks at: the dot has `operation`, `group`, `resources` and `scope`. */}}
{{- define "cordonhold.rule" -}}
- apiGroups: [{{ .group | quote }}]
  apiVersions: [v1]
  operations: [{{ .operation }}]
  resources: [{{ join ", " .resources }}]
  scope: {{ .scope }}
{{- end -}}

{{/* Binds the role for Events; the dot has the `name` of the ServiceAccount, its `namespace`, and `onlyInDefault`. */}}
{{- define "cordonhold.events-binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
{{- if .onlyInDefault }}
kind: RoleBinding
metadata:
  name: {{ .name }}-events
  namespace: default
{{- else }}
kind: ClusterRoleBinding
metadata:
  name: {{ .name }}-events
{{- end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ .name }}-events
subjects:
  {{- include "cordonhold.subject" . | nindent 2 }}
{{- end -}}

{{/* Kured's place for the webhook: empty where it does not protect kured. */}}
{{- define "cordonhold.kured-of-the-webhook" -}}
{{- if include "cordonhold.protects-kured" . }}{{ include "cordonhold.kured" . }}{{ else }}{}{{ end -}}
{{- end -}}

{{/* Whoever is exempt never waits for the webhook: a condition for `exempt`, or nothing. */}}
{{- define "cordonhold.not-exempt" -}}
{{- with .Values.webhook.exempt -}}
{{- if or .users .groups -}}
- name: not-exempt
  expression: |-
    !(
      request.userInfo.username in {{ toJson .users }}
      || request.userInfo.?groups.orValue([]).exists(group, group in {{ toJson .groups }})
    )
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Annotations of the webhook configurations. Flux writes only what is in its source, and so leaves the CA alone. */}}
{{- define "cordonhold.configuration-annotations" -}}
annotations:
  kustomize.toolkit.fluxcd.io/ssa: Merge
  {{- if eq .Values.tls.source "cert-manager" }}
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/cordonhold-webhook
  {{- end }}
  {{- with .Values.webhook.configurationAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The Leases that are locks, as a list. */}}
{{- define "cordonhold.leases" -}}
- cordonhold-default
{{- range $pool := .Values.pools }}
- cordonhold-{{ $pool.name }}
{{- end }}
{{- end -}}

{{/* What the API server does if the webhook does not answer. A webhook that denies nothing must not stop anything either. */}}
{{- define "cordonhold.failure-policy" -}}
{{- $denies := or (include "cordonhold.has-mode" (dict "root" . "mode" "enforce")) (include "cordonhold.has-mode" (dict "root" . "mode" "defer")) -}}
{{- if .Values.webhook.failurePolicy -}}
{{ .Values.webhook.failurePolicy }}
{{- else if $denies -}}
Fail
{{- else -}}
Ignore
{{- end -}}
{{- end -}}

{{/* Binds a policy to what happens to a request that breaks it; the dot has `root` and `name`. */}}
{{- define "cordonhold.policy-binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
spec:
  policyName: {{ .name }}
  {{- if include "cordonhold.policy-denies" .root }}
  validationActions: [Deny]
  {{- else if eq .root.Values.webhook.mode "warn" }}
  validationActions: [Warn, Audit]
  {{- else }}
  validationActions: [Audit]
  {{- end }}
{{- end -}}

{{/* A text or a whole number, as it is; the number of a values file is a float for Helm. */}}
{{- define "cordonhold.plain" -}}
{{- if kindIs "float64" . }}{{ int . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* Whether some agent, of whatever pool, has this key in its configuration; the dot has `root` and `key`. */}}
{{- define "cordonhold.some-agent-has" -}}
{{- $key := .key -}}
{{- $found := index .root.Values.configuration $key -}}
{{- range $pool := .root.Values.pools -}}
{{- $found = or $found (index (default dict $pool.configuration) $key) -}}
{{- end -}}
{{- if $found }}true{{ end -}}
{{- end -}}
