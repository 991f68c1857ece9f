{{/* Written by `cargo manifests` from manifests/src/cel.rs: which requests are sent to the webhook, and what the policies do. */}}
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
{{- define "cordonhold.key.reboot-wanted" -}}
cordonhold.dev/reboot-wanted
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
    && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').size() <= 200
    && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
    && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').size() <= 200
    && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
    && oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
    && !oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].hasValue()
  )
)
|| object.metadata.?labels[?'cordonhold.dev/phase'] != oldObject.metadata.?labels[?'cordonhold.dev/phase']
|| ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt', 'cordonhold.dev/cancel', 'cordonhold.dev/reboot-wanted', 'cordonhold.dev/uncordon-wanted']
  .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
|| (
  object.metadata.?annotations[?'cordonhold.dev/probe'].hasValue()
  && object.metadata.?annotations[?'cordonhold.dev/probe'] != oldObject.metadata.?annotations[?'cordonhold.dev/probe']
)
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
  && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').size() <= 200
  && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
  && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').size() <= 200
  && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
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
|| object.metadata.?annotations[?'cordonhold.dev/reboot-wanted'].hasValue()
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
|| ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt', 'cordonhold.dev/cancel', 'cordonhold.dev/reboot-wanted', 'cordonhold.dev/uncordon-wanted']
  .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
|| (
  object.metadata.?annotations[?'cordonhold.dev/probe'].hasValue()
  && object.metadata.?annotations[?'cordonhold.dev/probe'] != oldObject.metadata.?annotations[?'cordonhold.dev/probe']
)
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
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').size() <= 200
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').startsWith(oldObject.metadata.uid + '/')
&& oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').size() <= 200
&& oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
&& oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
&& oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].orValue('0').size() <= 200
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
&& ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt', 'cordonhold.dev/cancel', 'cordonhold.dev/reboot-wanted', 'cordonhold.dev/replaced', 'cordonhold.dev/given-back', 'cordonhold.dev/release-at']
  .all(key, object.metadata.?annotations[?key] == oldObject.metadata.?annotations[?key])
{{- end -}}
{{- define "cordonhold.cel.changes-no-deferred-uncordon" -}}
object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'] == oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted']
|| (
  object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
    == (oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' - ' + request.userInfo.username)
  && !(
    oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').size() <= 1200
    && oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').matches('^[^ ]+ (-|(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z) .')
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
oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').size() <= 1200
&& oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').matches('^[^ ]+ (-|(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z) .')
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
    oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').size() <= 1200
    && oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').matches('^[^ ]+ (-|(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z) .')
    && oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
      .startsWith(oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' ')
  )
  && oldObject.spec.?unschedulable.orValue(false)
  && oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('') in ['draining', 'delaying', 'sealed', 'returning']
  && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').size() <= 200
  && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
  && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').startsWith(oldObject.metadata.uid + '/')
  && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').size() <= 200
  && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
  && oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
  && oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].orValue('0').size() <= 200
  && oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].orValue('0').matches('^[0-9]{1,2}$')
  && object.metadata.?labels[?'cordonhold.dev/phase'] == oldObject.metadata.?labels[?'cordonhold.dev/phase']
  && (object.metadata.?labels[?'cordonhold.dev/agent'].orValue('') != 'disabled' || oldObject.metadata.?labels[?'cordonhold.dev/agent'].orValue('') == 'disabled')
  && ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt', 'cordonhold.dev/cancel', 'cordonhold.dev/reboot-wanted', 'cordonhold.dev/replaced', 'cordonhold.dev/given-back', 'cordonhold.dev/release-at']
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
  oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').size() <= 1200
  && oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('').matches('^[^ ]+ (-|(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z) .')
  && oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
    .startsWith(oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('/').split('/')[1] + ' ')
)
&& oldObject.spec.?unschedulable.orValue(false)
&& oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('') in ['draining', 'delaying', 'sealed', 'returning']
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').size() <= 200
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
&& oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').startsWith(oldObject.metadata.uid + '/')
&& oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').size() <= 200
&& oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
&& oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
&& oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].orValue('0').size() <= 200
&& oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].orValue('0').matches('^[0-9]{1,2}$')
&& object.metadata.?labels[?'cordonhold.dev/phase'] == oldObject.metadata.?labels[?'cordonhold.dev/phase']
&& (object.metadata.?labels[?'cordonhold.dev/agent'].orValue('') != 'disabled' || oldObject.metadata.?labels[?'cordonhold.dev/agent'].orValue('') == 'disabled')
&& ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt', 'cordonhold.dev/cancel', 'cordonhold.dev/reboot-wanted', 'cordonhold.dev/replaced', 'cordonhold.dev/given-back', 'cordonhold.dev/release-at']
  .all(key, object.metadata.?annotations[?key] == oldObject.metadata.?annotations[?key])
{{- end -}}
{{- define "cordonhold.cel.hold-variables" -}}
- name: phase
  expression: |-
    oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('')
- name: until
  expression: |-
    oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('')
- name: created
  expression: |-
    (oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('') + '/').split('/', 2)[1].replace('/', '')
- name: isCreatedReadable
  expression: |-
    variables.created.size() <= 200 && variables.created.matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
- name: isUntilReadable
  expression: |-
    variables.until.size() <= 200 && variables.until.matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
- name: isHeld
  expression: |-
    (
      oldObject.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
      || oldObject.metadata.?annotations[?'cordonhold.dev/holder'].hasValue()
    )
    && !(
      oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('') == 'wanted'
      && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').size() <= 200
      && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
      && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').size() <= 200
      && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
      && oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
      && !oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].hasValue()
    )
- name: isReadable
  expression: |-
    oldObject.metadata.?labels[?'cordonhold.dev/phase'].orValue('') in ['draining', 'delaying', 'sealed', 'returning']
    && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').size() <= 200
    && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').matches('^[^/]+/(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
    && oldObject.metadata.?annotations[?'cordonhold.dev/holder'].orValue('').startsWith(oldObject.metadata.uid + '/')
    && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').size() <= 200
    && oldObject.metadata.?annotations[?'cordonhold.dev/until'].orValue('').matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
    && oldObject.metadata.?annotations[?'cordonhold.dev/was-unschedulable'].orValue('true') in ['true', 'false']
    && oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].orValue('0').size() <= 200
    && oldObject.metadata.?annotations[?'cordonhold.dev/attempt'].orValue('0').matches('^[0-9]{1,2}$')
- name: isLapsed
  expression: |-
    variables.isReadable
    && oldObject.?status.?conditions.orValue([]).exists(c,
      c.type == 'Ready'
      && dyn(c).?lastHeartbeatTime.orValue(null) != null
      && timestamp(dyn(c).lastHeartbeatTime) > timestamp(variables.until) + duration('330s')
    )
- name: isCancelled
  expression: |-
    [oldObject.metadata.?annotations[?'cordonhold.dev/cancel'].orValue('')].exists(cancel,
      (
        (variables.created != '' && cancel.startsWith(variables.created + ' '))
        || (!variables.isCreatedReadable && cancel.startsWith('unreadable '))
      )
      && cancel.matches('(?s)^[^ ]+ .*\\S')
    )
- name: isSealed
  expression: |-
    variables.phase == 'sealed'
    && (oldObject.metadata.?annotations[?'cordonhold.dev/until'].hasValue() ? (
      variables.isUntilReadable
      && !(
        oldObject.?status.?conditions.orValue([]).exists(c,
          c.type == 'Ready'
          && dyn(c).?lastHeartbeatTime.orValue(null) != null
          && timestamp(dyn(c).lastHeartbeatTime) > timestamp(variables.until) + duration('30s')
        )
        || oldObject.metadata.?managedFields.orValue([]).exists(m,
          dyn(m).?time.orValue(null) != null
          && timestamp(dyn(m).time) > timestamp(variables.until) + duration('30s')
        )
      )
    ) : variables.isCreatedReadable)
- name: name
  expression: |-
    oldObject.metadata.name
- name: cancelName
  expression: |-
    variables.isCreatedReadable ? variables.created : 'unreadable'
- name: told
  expression: |-
    'its agent holds it for a reboot (phase ' + (variables.phase == '' ? 'none' : variables.phase)
    + ', since ' + (variables.isCreatedReadable ? variables.created : 'nobody can read when')
    + ', until ' + (variables.isUntilReadable ? variables.until : 'its agent ends it') + ')'
- name: wayOut
  expression: |-
    ". To call the reboot off: " + "kubectl annotate --overwrite node " + variables.name + " cordonhold.dev/cancel='" + variables.cancelName + " <your reason>'"
    + ". If no agent works on it, then uncordon the node as it should be, and: kubectl taint node " + variables.name + " cordonhold.dev/rebooting:NoSchedule-; kubectl label node " + variables.name + " cordonhold.dev/phase-; kubectl annotate node " + variables.name + " cordonhold.dev/holder- cordonhold.dev/until- cordonhold.dev/boot-id- cordonhold.dev/was-unschedulable- cordonhold.dev/write- cordonhold.dev/attempt-. If this policy is the problem: docs/policy.md says how to turn it off"
{{- end -}}
{{- define "cordonhold.cel.change-variables" -}}
- name: isAgent
  expression: |-
    request.userInfo.username.matches('^system:serviceaccount:[^:]+:cordonhold-agent$')
    && authorizer.group('cordonhold.dev').resource('rebootholds').check('own').allowed()
    && !authorizer.group('cordonhold.dev').resource('rebootholds').check('override').allowed()
- name: isMarked
  expression: |-
    oldObject.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
    || ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt']
      .exists(key, oldObject.metadata.?annotations[?key].hasValue())
    || (
      oldObject.spec.?taints.orValue([]).size() <= 1000
      && oldObject.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
    )
- name: uncordons
  expression: |-
    oldObject.spec.?unschedulable.orValue(false)
    && !object.spec.?unschedulable.orValue(false)
- name: changesMarks
  expression: |-
    object.metadata.?labels[?'cordonhold.dev/phase'] != oldObject.metadata.?labels[?'cordonhold.dev/phase']
    || ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt']
      .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
    || (
      variables.isMarked
      && (
        (
          object.metadata.?labels[?'cordonhold.dev/agent'].orValue('') == 'disabled'
          && oldObject.metadata.?labels[?'cordonhold.dev/agent'].orValue('') != 'disabled'
        )
        || ['cordonhold.dev/replaced', 'cordonhold.dev/given-back', 'cordonhold.dev/release-at']
          .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
      )
    )
- name: changesTaint
  expression: |-
    object.spec.?taints != oldObject.spec.?taints
    && (
      (
        object.spec.?taints.orValue([]).size() + oldObject.spec.?taints.orValue([]).size() > 1000
        && (
          oldObject.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
          || oldObject.metadata.?annotations[?'cordonhold.dev/holder'].hasValue()
        )
      )
      || (
        object.spec.?taints.orValue([]).size() + oldObject.spec.?taints.orValue([]).size() <= 1000
        && object.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
          != oldObject.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
      )
    )
- name: setsMarks
  expression: |-
    (
      object.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
      && object.metadata.?labels[?'cordonhold.dev/phase'] != oldObject.metadata.?labels[?'cordonhold.dev/phase']
    )
    || ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt']
      .exists(key, object.metadata.?annotations[?key].hasValue() && object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
    || (
      variables.isMarked
      && (
        (
          object.metadata.?labels[?'cordonhold.dev/agent'].orValue('') == 'disabled'
          && oldObject.metadata.?labels[?'cordonhold.dev/agent'].orValue('') != 'disabled'
        )
        || ['cordonhold.dev/replaced', 'cordonhold.dev/given-back', 'cordonhold.dev/release-at']
          .exists(key, object.metadata.?annotations[?key].hasValue() && object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])
      )
    )
    || (
      variables.changesTaint
      && (
        object.spec.?taints.orValue([]).size() <= 1000
        && object.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
      )
    )
- name: changesCancel
  expression: |-
    object.metadata.?annotations[?'cordonhold.dev/cancel'] != oldObject.metadata.?annotations[?'cordonhold.dev/cancel']
- name: changesRequest
  expression: |-
    object.metadata.?annotations[?'cordonhold.dev/reboot-wanted'] != oldObject.metadata.?annotations[?'cordonhold.dev/reboot-wanted']
- name: isOpen
  expression: |-
    variables.isCancelled && !variables.isSealed && !variables.changesCancel && !variables.setsMarks
- name: wanted
  expression: |-
    object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
- name: wantedBefore
  expression: |-
    oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].orValue('')
- name: isOfTheHold
  expression: |-
    variables.isReadable
    && variables.wantedBefore.size() <= 1200
    && variables.wantedBefore.matches('^[^ ]+ (done:)?(-|(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z) .')
    && variables.wantedBefore.startsWith(variables.created + ' ')
- name: changesWish
  expression: |-
    object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'] != oldObject.metadata.?annotations[?'cordonhold.dev/uncordon-wanted']
    && (object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].hasValue() || variables.isOfTheHold)
- name: wish
  expression: |-
    !variables.changesWish ? ''
    : request.?subResource.orValue('') != '' ? 'forged'
    : variables.wanted == '' ? (variables.isOfTheHold && variables.wantedBefore.split(' ', 3)[2] == request.userInfo.username ? 'back' : 'forged')
    : !(
      variables.isReadable
      && variables.wanted.size() <= 1200
      && variables.wanted.matches('^[^ ]+ (done:)?(-|(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z) .')
      && variables.wanted.startsWith(variables.created + ' ')
      && variables.wanted.split(' ', 3)[2] == request.userInfo.username
    ) ? 'forged'
    : variables.wanted.split(' ', 3)[1].startsWith('done:') ? (variables.uncordons ? 'done' : 'forged')
    : variables.isOfTheHold && !variables.wantedBefore.split(' ', 3)[1].startsWith('done:') ? 'forged'
    : 'asked'
{{- end -}}
{{- define "cordonhold.cel.hold-validations" -}}
- expression: |-
    !variables.isAgent
  reason: Forbidden
  message: 'not-own-node: an agent may change only the node that its token names'
  messageExpression: |-
    'not-own-node: ' + "cordonhold-agent is not the agent of node " + variables.name + ": an agent may change only the node that its token names"
- expression: |-
    !variables.changesCancel || !(variables.uncordons || (variables.changesMarks || variables.changesTaint) || variables.changesWish)
  reason: Forbidden
  message: 'cancel-alone: a cancel must be changed in a request of its own'
  messageExpression: |-
    'cancel-alone: ' + "cordonhold.dev/cancel of node " + variables.name + " must be changed in a request of its own: first the cancel, then the uncordon or the change of marks"
- expression: |-
    !variables.changesCancel || authorizer.group('cordonhold.dev').resource('rebootholds').name(oldObject.metadata.name).check('override').allowed()
  reason: Forbidden
  message: 'no-override: a cancel needs the ClusterRole cordonhold-override'
  messageExpression: |-
    'no-override: ' + "cordonhold.dev/cancel of node " + variables.name + " may be written with the RBAC verb override on rebootholds.cordonhold.dev alone. Bind the ClusterRole cordonhold-override to those who may cancel"
- expression: |-
    !variables.changesCancel
    || !object.metadata.?annotations[?'cordonhold.dev/cancel'].hasValue()
    || (
      variables.isMarked
      && [object.metadata.?annotations[?'cordonhold.dev/cancel'].orValue('')].exists(cancel,
        (
          (variables.created != '' && cancel.startsWith(variables.created + ' '))
          || (!variables.isCreatedReadable && cancel.startsWith('unreadable '))
        )
        && cancel.matches('(?s)^[^ ]+ .*\\S')
      )
    )
  reason: Forbidden
  message: 'bad-cancel: this cancel does nothing'
  messageExpression: |-
    'bad-cancel: ' + (variables.isMarked
      ? "this cancel does nothing: it must name the hold and give a reason. To cancel the current reboot: " + "kubectl annotate --overwrite node " + variables.name + " cordonhold.dev/cancel='" + variables.cancelName + " <your reason>'"
      : "this cancel does nothing: the node carries no hold. To keep it from its next reboot: kubectl annotate node " + variables.name + " cordonhold.dev/pause='<your reason>'")
- expression: |-
    variables.isMarked || !(variables.changesMarks || variables.changesTaint)
  reason: Forbidden
  message: 'spoofed-hold: only the agent of a node may write the marks of a hold'
  messageExpression: |-
    'spoofed-hold: ' + "node " + variables.name + " carries no hold, and only its own agent may write one: nobody else may write cordonhold.dev/holder or the other marks"
- expression: |-
    variables.wish != 'forged' || (variables.isOpen && variables.wanted == '')
  reason: Forbidden
  message: 'forged-wish: a kept uncordon is written by an uncordon alone'
  messageExpression: |-
    'forged-wish: ' + "cordonhold.dev/uncordon-wanted of node " + variables.name + " is written by an uncordon of a held node, and removed by its agent or by whom it names"
- expression: |-
    !(
      variables.isCancelled && variables.isSealed && !variables.changesCancel && !variables.setsMarks
      && (
        (variables.uncordons && variables.isHeld)
        || (variables.isMarked && (variables.changesMarks || variables.changesTaint))
      )
    )
  reason: Forbidden
  message: 'too-late: the reboot is under way: wait until the node is back'
  messageExpression: |-
    'too-late: ' + "the hold of node " + variables.name + " was cancelled too late, because its reboot is under way: wait until the node is back: "
    + variables.told
    + ". If it is not back half a minute after this time, write the cancel once more, with another reason, and then send this again: " + "kubectl annotate --overwrite node " + variables.name + " cordonhold.dev/cancel='" + variables.cancelName + " <your reason>'"
- expression: |-
    !variables.uncordons || !variables.isHeld || variables.isLapsed || variables.isOpen
  reason: Forbidden
  message: 'held: the node is held for a reboot and stays cordoned'
  messageExpression: |-
    'held: ' + "node " + variables.name + " is held for a reboot and stays cordoned: "
    + variables.told
    + variables.wayOut
- expression: |-
    !variables.isMarked || !variables.changesMarks || variables.isOpen
  reason: Forbidden
  message: 'tampered-hold: only the agent of the node may change the marks of its hold'
  messageExpression: |-
    'tampered-hold: ' + "only the agent of node " + variables.name + " may change the marks of the hold, and what it wrote beside them: "
    + variables.told
    + variables.wayOut
- expression: |-
    !variables.isMarked || !variables.changesTaint || variables.isOpen
  reason: Forbidden
  message: 'tampered-taint: only the agent of the node may change the taint of its hold'
  messageExpression: |-
    'tampered-taint: ' + "only the agent of node " + variables.name + " may change the taint cordonhold.dev/rebooting of the hold: "
    + variables.told
    + variables.wayOut
- expression: |-
    !variables.changesRequest || authorizer.group('cordonhold.dev').resource('rebootholds').name(oldObject.metadata.name).check('reboot').allowed()
  reason: Forbidden
  message: 'no-request: a request for a reboot needs the ClusterRole cordonhold-reboot'
  messageExpression: |-
    'no-request: ' + "cordonhold.dev/reboot-wanted of node " + oldObject.metadata.name + " may be written with the RBAC verb reboot on rebootholds.cordonhold.dev alone. Bind the ClusterRole cordonhold-reboot to those who may ask for reboots"
- expression: |-
    !variables.changesRequest || !object.metadata.?annotations[?'cordonhold.dev/reboot-wanted'].hasValue() || [object.metadata.?annotations[?'cordonhold.dev/reboot-wanted'].orValue('')].exists(asked,
      asked.split(' ', 2)[0].size() <= 200
      && asked.split(' ', 2)[0].matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
      && asked.matches('(?s)^[^ ]+ .*\\S')
    )
  reason: Forbidden
  message: 'bad-request: a request for a reboot must begin with the time and give a reason'
  messageExpression: |-
    'bad-request: ' + "cordonhold.dev/reboot-wanted of node " + oldObject.metadata.name + " leads to no reboot: it must begin with the time, such as 2026-11-30T08:00:00Z, and give a reason. kubectl cordonhold reboot writes it"
{{- end -}}
{{- define "cordonhold.cel.created-hold-validations" -}}
- expression: |-
    !(
      object.metadata.?labels[?'cordonhold.dev/phase'].hasValue()
      || ['cordonhold.dev/holder', 'cordonhold.dev/until', 'cordonhold.dev/boot-id', 'cordonhold.dev/was-unschedulable', 'cordonhold.dev/write', 'cordonhold.dev/attempt']
        .exists(key, object.metadata.?annotations[?key].hasValue())
      || (
        object.spec.?taints.orValue([]).size() <= 1000
        && object.spec.?taints.orValue([]).exists(t, t.key == 'cordonhold.dev/rebooting' && t.effect == 'NoSchedule')
      )
    )
  reason: Forbidden
  message: 'spoofed-hold: a node may not be created with the marks of a hold'
  messageExpression: |-
    'spoofed-hold: ' + "node " + object.metadata.name + " may not be created with the marks of a hold: only its own agent writes them, once it runs there. Leave out the label cordonhold.dev/phase, the taint cordonhold.dev/rebooting and the annotations cordonhold.dev/holder, cordonhold.dev/until, cordonhold.dev/boot-id, cordonhold.dev/was-unschedulable, cordonhold.dev/write, cordonhold.dev/attempt"
- expression: |-
    !object.metadata.?annotations[?'cordonhold.dev/reboot-wanted'].hasValue() || authorizer.group('cordonhold.dev').resource('rebootholds').name(object.metadata.name).check('reboot').allowed()
  reason: Forbidden
  message: 'no-request: a request for a reboot needs the ClusterRole cordonhold-reboot'
  messageExpression: |-
    'no-request: ' + "cordonhold.dev/reboot-wanted of node " + object.metadata.name + " may be written with the RBAC verb reboot on rebootholds.cordonhold.dev alone. Bind the ClusterRole cordonhold-reboot to those who may ask for reboots"
- expression: |-
    !object.metadata.?annotations[?'cordonhold.dev/reboot-wanted'].hasValue() || !object.metadata.?annotations[?'cordonhold.dev/reboot-wanted'].hasValue() || [object.metadata.?annotations[?'cordonhold.dev/reboot-wanted'].orValue('')].exists(asked,
      asked.split(' ', 2)[0].size() <= 200
      && asked.split(' ', 2)[0].matches('^(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$')
      && asked.matches('(?s)^[^ ]+ .*\\S')
    )
  reason: Forbidden
  message: 'bad-request: a request for a reboot must begin with the time and give a reason'
  messageExpression: |-
    'bad-request: ' + "cordonhold.dev/reboot-wanted of node " + object.metadata.name + " leads to no reboot: it must begin with the time, such as 2026-11-30T08:00:00Z, and give a reason. kubectl cordonhold reboot writes it"
{{- end -}}
{{- define "cordonhold.cel.deleted-hold-validations" -}}
- expression: |-
    variables.isLapsed || !variables.isCancelled || !variables.isSealed
  reason: Forbidden
  message: 'too-late: the reboot is under way: wait until the node is back'
  messageExpression: |-
    'too-late: ' + "node " + variables.name + " is in a reboot that was cancelled too late, and may not be deleted before it is over: "
    + variables.told
- expression: |-
    variables.isLapsed || variables.isCancelled
  reason: Forbidden
  message: 'held-deleted: the node is held for a reboot and may not be deleted'
  messageExpression: |-
    'held-deleted: ' + "node " + variables.name + " is held for a reboot and may not be deleted: "
    + variables.told
    + variables.wayOut
{{- end -}}
{{- define "cordonhold.cel.not-a-kubelet" -}}
!('system:nodes' in request.userInfo.?groups.orValue([]))
{{- end -}}
{{- define "cordonhold.cel.may-only-annotate" -}}
authorizer.group('cordonhold.dev').resource('rebootholds').check('annotate').allowed()
&& !authorizer.requestResource.check('update').allowed()
{{- end -}}
{{- define "cordonhold.cel.peoples-annotations" -}}
['cordonhold.dev/pause', 'cordonhold.dev/keep-cordoned', 'cordonhold.dev/probe']
+ (authorizer.group('cordonhold.dev').resource('rebootholds').check('override').allowed() ? ['cordonhold.dev/cancel'] : [])
+ (authorizer.group('cordonhold.dev').resource('rebootholds').check('reboot').allowed() ? ['cordonhold.dev/reboot-wanted'] : [])
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
