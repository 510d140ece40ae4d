{{- define "banyan.name" -}}
{{- if contains "banyan" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-banyan" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "banyan.selector" -}}
app.kubernetes.io/name: banyan
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "banyan.labels" -}}
{{ include "banyan.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: banyan
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "banyan.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ printf "%s@%s" .repository .digest }}{{ else }}{{ printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) }}{{ end }}
{{- end }}
{{- end }}

{{/* The sections that a gateway reads at its start alone: a pod is made anew where they change. The rest of the file is read again as it is. */}}
{{- define "banyan.sections" -}}
[gateway]
listen = ["0.0.0.0:8080"]
admin = "127.0.0.1:9900"
workers = {{ int .Values.gateway.workers }}
trusted_proxies = {{ toJson .Values.gateway.trustedProxies }}
{{- with .Values.gateway.settings }}
{{ trim . }}
{{- end }}

[gateway.limits]
drain_timeout = "{{ int .Values.gateway.drainSeconds }}s"
{{- with .Values.gateway.limits }}
{{ trim . }}
{{- end }}

[flags]
source = "unleash"
url = {{ toJson .Values.flags.url }}
environment = {{ toJson .Values.flags.environment }}
token = "${UNLEASH_TOKEN}"
admin_token = "${UNLEASH_ADMIN_TOKEN}"
{{- with .Values.flags.settings }}
{{ trim . }}
{{- end }}

[shadow]
sink = {{ ternary "\"jetstream\"" "\"local\"" (gt (int .Values.shadow.replicas) 0) }}
database = {{ toJson .Values.database }}
{{- if gt (int .Values.shadow.replicas) 0 }}
nats = {{ toJson .Values.shadow.nats }}
{{- end }}
{{- with .Values.shadow.settings }}
{{ trim . }}
{{- end }}
{{- if gt (int .Values.shadow.replicas) 0 }}

[shadow.jetstream]
{{ trim .Values.shadow.jetstream }}
{{- end }}
{{- end }}

{{- define "banyan.toml" -}}
{{- with regexFind `(?m)^[ \t]*\[(gateway|flags|shadow)[].]` .Values.config }}
{{- fail (printf "config has a table %s…: the chart writes [gateway], [flags] and [shadow]; see gateway, flags, database and shadow in values.yaml" (trim .)) }}
{{- end }}
{{- /* A pod's own file goes with it, and the other pods have nothing of what is in it. A name alone, ${…}, is looked at by the gateway. */}}
{{- if regexMatch `(?m)^[^#\n]*\bsticky["']?[ \t]*=[ \t]*["']idempotency-key["']` .Values.config }}
{{- if not (regexMatch `(?m)^[ \t]*\[[ \t]*["']?ledger["']?[ \t]*\][^\n]*(\n[ \t]*([^\[ \t\n][^\n]*)?)*?\n[ \t]*["']?database["']?[ \t]*=[ \t]*["'](postgres(ql)?://|\$\{)` .Values.config) }}
{{- fail "config has a route with sticky = \"idempotency-key\" and no ledger that all pods share: a payment that is repeated at another pod would be made twice; add  [ledger]  with  database = \"postgresql://…\"" }}
{{- end }}
{{- end }}
{{ include "banyan.sections" . }}

{{ trim .Values.config }}
{{- end }}

{{/* Of a pod: nobody in particular, who may do nothing in particular. */}}
{{- define "banyan.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "banyan.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "banyan.mounts" -}}
- { name: config, mountPath: /etc/banyan, readOnly: true }
- { name: secrets, mountPath: /run/secrets/banyan, readOnly: true }
- { name: var, mountPath: /srv/banyan/var }
- { name: tmp, mountPath: /tmp }
{{- end }}

{{/* `secrets`: names of Secrets, whose keys become files. */}}
{{- define "banyan.volumes" -}}
- name: config
  configMap: { name: {{ include "banyan.name" .root }} }
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range .secrets }}
      - secret: { name: {{ . }} }
      {{- end }}
- name: var
  emptyDir: { sizeLimit: 1Gi }
- name: tmp
  emptyDir: { sizeLimit: 256Mi }
{{- end }}

{{/* Pods of one kind stand apart where they can: one node, or one zone, takes no more than its share of them along. */}}
{{- define "banyan.spread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash] # those of one version among themselves: a rollout has two
  labelSelector:
    matchLabels:
      {{- include "banyan.selector" $ | nindent 6 }}
{{- end }}
{{- end }}
