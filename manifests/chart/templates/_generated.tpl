{{/* Written by `cargo manifests` from manifests/src/cel.rs: which requests are sent to the webhook, and what the policy defers. */}}
{{- define "cordonhold.key.agent" -}}
cordonhold.dev/agent
{{- end -}}
{{- define "cordonhold.key.disabled" -}}
disabled
{{- end -}}
{{- define "cordonhold.key.phase" -}}
cordonhold.dev/phase
{{- end -}}
{{- define "cordonhold.key.pause" -}}
cordonhold.dev/pause
{{- end -}}
{{- define "cordonhold.key.keep-cordoned" -}}
cordonhold.dev/keep-cordoned
{{- end -}}
{{- define "cordonhold.key.cancel" -}}
cordonhold.dev/cancel
{{- end -}}
{{- define "cordonhold.cel.not-the-agent-on-its-own-node" -}}
!(
  request.userInfo.username.matches('^system:serviceaccount:[^:]+:cordonhold-agent$')
  && request.userInfo.?extra[?'authentication.kubernetes.io/node-name'].orValue([]) == [object.metadata.name]
  && authorizer.group('cordonhold.dev').resource('rebootholds').check('own').allowed()
  && !authorizer.group('cordonhold.dev').resource('rebootholds').check('override').allowed()
)
{{- end -}}
{{- define "cordonhold.cel.uncordons-a-held-node-or-touches-a-hold" -}}
request.userInfo.username.matches('^system:serviceaccount:[^:]+:cordonhold-agent$')
|| (
  oldObject.spec.?unschedulable.orValue(false)
  && !object.spec.?unschedulable.orValue(false)
  && (
    oldObject.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
    || oldObject.metadata.?annotations[?'cordonhold.dev/holder'].hasValue()
  )
  && !(
    oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('') == 'wanted'
    && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
    && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
    && oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
    && !oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].hasValue()
  )
)
|| object.metadata.?labels[?'cordonhold.dev/phase'] != oldObject.metadata.?labels[?'cordonhold.dev/phase']
|| ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt', 'cordonhold.dev/cancel', 'cordonhold.dev/uncordon-wanted']
  .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
|| (
  object.spec.?taints != oldObject.spec.?taints
  && (
    object.spec.?taints.orValue([]).size() + oldObject.spec.?taints.orValue([]).size() > 1000
    || object.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
      != oldObject.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
  )
)
|| (
  (
    (
      object.metadata.?labels[?'cordonhold.dev/agent'].orValue('') == 'disabled'
      && oldObject.metadata.?labels[?'cordonhold.dev/agent'].orValue('') != 'disabled'
    )
    || ['cordonhold.dev/replaced', 'cordonhold.dev/given-back', 'cordonhold.dev/release-at']
      .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
  )
  && (
    oldObject.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
    || ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt']
      .exists(key, oldObject.metadata.?annotations[?key].hasValue())
    || oldObject.spec.?taints.orValue([]).size() > 1000
    || oldObject.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
  )
)
{{- end -}}
{{- define "cordonhold.cel.deletes-a-node-with-a-hold" -}}
(
  oldObject.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
  || oldObject.metadata.?annotations[?'cordonhold.dev/holder'].hasValue()
)
&& !(
  oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('') == 'wanted'
  && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
  && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
  && oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
  && !oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].hasValue()
)
{{- end -}}
{{- define "cordonhold.cel.creates-a-node-with-a-mark" -}}
object.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
|| ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt']
  .exists(key, object.metadata.?annotations[?key].hasValue())
|| object.spec.?taints.orValue([]).size() > 1000
|| object.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
{{- end -}}
{{- define "cordonhold.cel.default-kured-locks" -}}
['weave.works/kured-node-lock', 'kured.dev/kured-node-lock']
{{- end -}}
{{- define "cordonhold.cel.uncordons-or-touches-a-hold" -}}
request.userInfo.username.matches('^system:serviceaccount:[^:]+:cordonhold-agent$')
|| (
  oldObject.spec.?unschedulable.orValue(false)
  && !object.spec.?unschedulable.orValue(false)
  && !(
    request.userInfo.username.startsWith('system:serviceaccount:')
    && request.userInfo.?extra[?'authentication.kubernetes.io/node-name'].orValue([]) == [object.metadata.name]
    && !oldObject.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
    && !oldObject.metadata.?annotations[?'cordonhold.dev/holder'].hasValue()
  )
)
|| object.metadata.?labels[?'cordonhold.dev/phase'] != oldObject.metadata.?labels[?'cordonhold.dev/phase']
|| ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt', 'cordonhold.dev/cancel', 'cordonhold.dev/uncordon-wanted']
  .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
|| (
  object.spec.?taints != oldObject.spec.?taints
  && (
    object.spec.?taints.orValue([]).size() + oldObject.spec.?taints.orValue([]).size() > 1000
    || object.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
      != oldObject.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
  )
)
|| (
  (
    (
      object.metadata.?labels[?'cordonhold.dev/agent'].orValue('') == 'disabled'
      && oldObject.metadata.?labels[?'cordonhold.dev/agent'].orValue('') != 'disabled'
    )
    || ['cordonhold.dev/replaced', 'cordonhold.dev/given-back', 'cordonhold.dev/release-at']
      .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
  )
  && (
    oldObject.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
    || ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt']
      .exists(key, oldObject.metadata.?annotations[?key].hasValue())
    || oldObject.spec.?taints.orValue([]).size() > 1000
    || oldObject.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
  )
)
{{- end -}}
{{- define "cordonhold.cel.uncordons-the-node-that-its-token-names" -}}
oldObject.spec.?unschedulable.orValue(false)
&& !object.spec.?unschedulable.orValue(false)
&& request.userInfo.username.startsWith('system:serviceaccount:')
&& request.userInfo.?extra[?'authentication.kubernetes.io/node-name'].orValue([]) == [object.metadata.name]
&& !(
  oldObject.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
  || oldObject.metadata.?annotations[?'cordonhold.dev/holder'].hasValue()
)
{{- end -}}
{{- define "cordonhold.cel.changes-kureds-lock" -}}
{{ include "cordonhold.kured-locks" . }}
  .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
{{- end -}}
{{- define "cordonhold.cel.not-an-agent" -}}
!(
  request.userInfo.username.matches('^system:serviceaccount:[^:]+:cordonhold-agent$')
  && authorizer.group('cordonhold.dev').resource('rebootholds').check('own').allowed()
  && !authorizer.group('cordonhold.dev').resource('rebootholds').check('override').allowed()
)
{{- end -}}
{{- define "cordonhold.cel.by-the-token-of-a-pod" -}}
request.userInfo.?extra[?'authentication.kubernetes.io/node-name'].hasValue()
{{- end -}}
{{- define "cordonhold.cel.not-its-own-entry-alone" -}}
request.userInfo.?extra[?'authentication.kubernetes.io/node-name'].orValue([]).size() != 1
|| !['{"nodeID":"' + request.userInfo.extra['authentication.kubernetes.io/node-name'][0] + '",'].all(own,
  [r'\{"nodeID":"[^"\\]+","metadata":\{"unschedulable":(?:true|false)\},"created":"[^"\\]+","TTL":[0-9]+\}'].all(entry,
    {{ include "cordonhold.kured-locks" . }}.all(key,
      [[oldObject, object].map(o, o.metadata.?annotations[?key].orValue('{"maxOwners":0,"locks":null}'))].all(texts,
        texts.all(text, text.size() <= 16384 && text.matches('^(' + entry + r'|\{"maxOwners":[0-9]+,"locks":(null|\[(' + entry + '(,' + entry + r')*)?\])\})$'))
        && texts[0].findAll(entry).filter(e, !e.startsWith(own)) == texts[1].findAll(entry).filter(e, !e.startsWith(own))
      )
    )
  )
)
{{- end -}}
{{- define "cordonhold.cel.by-hand" -}}
!request.userInfo.?extra[?'authentication.kubernetes.io/node-name'].hasValue()
{{- end -}}
{{- define "cordonhold.cel.uncordons-a-held-node" -}}
oldObject.spec.?unschedulable.orValue(false)
&& !object.spec.?unschedulable.orValue(false)
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].hasValue()
&& oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('wanted') != 'wanted'
{{- end -}}
{{- define "cordonhold.cel.not-an-agent-elsewhere-and-a-name-that-can-be-kept" -}}
!request.userInfo.username.matches('^system:serviceaccount:[^:]+:cordonhold-agent$')
&& request.userInfo.username.size() > 0
&& request.userInfo.username.size() <= 250
{{- end -}}
{{- define "cordonhold.cel.uncordons-a-node-that-is-held-by-marks-that-can-be-read" -}}
!object.spec.?unschedulable.orValue(false)
&& oldObject.spec.?unschedulable.orValue(false)
&& oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('') in ['draining', 'delaying', 'sealed', 'returning']
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').startsWith(oldObject.metadata.uid + '/')
&& oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
&& oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
&& oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].orValue('0').matches('^[0-9]{1,2}$')
{{- end -}}
{{- define "cordonhold.cel.is-not-cancelled" -}}
oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('') == 'sealed'
|| !oldObject.metadata.?annotations[?'cordonhold.dev/cancel'].orValue('')
  .startsWith(oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' ')
{{- end -}}
{{- define "cordonhold.cel.changes-no-mark" -}}
object.metadata.?labels[?'cordonhold.dev/phase'] == oldObject.metadata.?labels[?'cordonhold.dev/phase']
&& (object.metadata.?labels[?'cordonhold.dev/agent'].orValue('') != 'disabled' || oldObject.metadata.?labels[?'cordonhold.dev/agent'].orValue('') == 'disabled')
&& ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt', 'cordonhold.dev/cancel', 'cordonhold.dev/replaced', 'cordonhold.dev/given-back', 'cordonhold.dev/release-at']
  .all(key, object.metadata.?annotations[?key] == oldObject.metadata.?annotations[?key])
{{- end -}}
{{- define "cordonhold.cel.changes-no-deferred-uncordon" -}}
object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'] == oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted']
|| (
  object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
    == (oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' - ' + request.userInfo.username)
  && !(
    oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').matches('^[^ ]+ (-|2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z) .')
    && oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
      .startsWith(oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' ')
  )
)
{{- end -}}
{{- define "cordonhold.cel.the-machine-is-up" -}}
oldObject.?status.?conditions.orValue([]).exists(c,
  c.type == 'Ready' && c.status == 'True'
  && timestamp(c.lastHeartbeatTime) < timestamp(oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue(''))
)
{{- end -}}
{{- define "cordonhold.cel.the-taint-stays" -}}
object.spec.?taints.orValue([]).size() + oldObject.spec.?taints.orValue([]).size() <= 1000
&& object.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
  == oldObject.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
{{- end -}}
{{- define "cordonhold.cel.is-kept" -}}
oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').matches('^[^ ]+ (-|2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z) .')
&& oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
  .startsWith(oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' ')
{{- end -}}
{{- define "cordonhold.cel.asked" -}}
oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' - ' + request.userInfo.username
{{- end -}}
{{- define "cordonhold.cel.keep-the-uncordon" -}}
[JSONPatch{op: 'add', path: '/spec/unschedulable', value: true}]
+ (variables.isKept
  ? []
  : [JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('cordonhold.dev/uncordon-wanted'), value: variables.asked}])
{{- end -}}
{{- define "cordonhold.cel.not-deferred-by-the-policy" -}}
!(
  request.?subResource.orValue('') == ''
  && object.spec.?unschedulable.orValue(false)
  && object.spec.?taints == oldObject.spec.?taints
  && object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'] != oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted']
  && object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
    == (oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' - ' + request.userInfo.username)
  && !request.userInfo.username.matches('^system:serviceaccount:[^:]+:cordonhold-agent$')
  && !(
    oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').matches('^[^ ]+ (-|2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z) .')
    && oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
      .startsWith(oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' ')
  )
  && oldObject.spec.?unschedulable.orValue(false)
  && oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('') in ['draining', 'delaying', 'sealed', 'returning']
  && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
  && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').startsWith(oldObject.metadata.uid + '/')
  && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
  && oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
  && oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].orValue('0').matches('^[0-9]{1,2}$')
  && object.metadata.?labels[?'cordonhold.dev/phase'] == oldObject.metadata.?labels[?'cordonhold.dev/phase']
  && (object.metadata.?labels[?'cordonhold.dev/agent'].orValue('') != 'disabled' || oldObject.metadata.?labels[?'cordonhold.dev/agent'].orValue('') == 'disabled')
  && ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt', 'cordonhold.dev/cancel', 'cordonhold.dev/replaced', 'cordonhold.dev/given-back', 'cordonhold.dev/release-at']
    .all(key, object.metadata.?annotations[?key] == oldObject.metadata.?annotations[?key])
)
{{- end -}}
{{- define "cordonhold.cel.deferred-by-the-policy" -}}
request.?subResource.orValue('') == ''
&& object.spec.?unschedulable.orValue(false)
&& object.spec.?taints == oldObject.spec.?taints
&& object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'] != oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted']
&& object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
  == (oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' - ' + request.userInfo.username)
&& !request.userInfo.username.matches('^system:serviceaccount:[^:]+:cordonhold-agent$')
&& !(
  oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').matches('^[^ ]+ (-|2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z) .')
  && oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
    .startsWith(oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' ')
)
&& oldObject.spec.?unschedulable.orValue(false)
&& oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('') in ['draining', 'delaying', 'sealed', 'returning']
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').startsWith(oldObject.metadata.uid + '/')
&& oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
&& oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
&& oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].orValue('0').matches('^[0-9]{1,2}$')
&& object.metadata.?labels[?'cordonhold.dev/phase'] == oldObject.metadata.?labels[?'cordonhold.dev/phase']
&& (object.metadata.?labels[?'cordonhold.dev/agent'].orValue('') != 'disabled' || oldObject.metadata.?labels[?'cordonhold.dev/agent'].orValue('') == 'disabled')
&& ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt', 'cordonhold.dev/cancel', 'cordonhold.dev/replaced', 'cordonhold.dev/given-back', 'cordonhold.dev/release-at']
  .all(key, object.metadata.?annotations[?key] == oldObject.metadata.?annotations[?key])
{{- end -}}
{{- define "cordonhold.cel.not-a-kubelet" -}}
!('system:nodes' in request.userInfo.?groups.orValue([]))
{{- end -}}
{{- define "cordonhold.cel.may-only-annotate" -}}
authorizer.group('cordonhold.dev').resource('rebootholds').check('annotate').allowed()
&& !authorizer.requestResource.check('update').allowed()
{{- end -}}
{{- define "cordonhold.cel.peoples-annotations" -}}
['cordonhold.dev/pause', 'cordonhold.dev/keep-cordoned']
+ (authorizer.group('cordonhold.dev').resource('rebootholds').check('override').allowed() ? ['cordonhold.dev/cancel'] : [])
{{- end -}}
{{- define "cordonhold.cel.changes-annotations-alone" -}}
object.?spec == oldObject.?spec
&& object.metadata.?labels == oldObject.metadata.?labels
&& object.metadata.?finalizers == oldObject.metadata.?finalizers
&& object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences
{{- end -}}
{{- define "cordonhold.cel.changes-peoples-annotations-alone" -}}
variables.after.all(key, (
  key in variables.keys
  || variables.before[?key] == variables.after[?key]
))
&& variables.before.all(key, (
  key in variables.keys
  || variables.before[?key] == variables.after[?key]
))
{{- end -}}
