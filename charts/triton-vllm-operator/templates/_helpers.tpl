{{- define "operator.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "operator.selector" -}}
app.kubernetes.io/name: triton-vllm-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "operator.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* The runtimes of the list, those of extraRuntimes in place of the entries of their version, or before all others. */}}
{{- define "operator.runtimes" -}}
{{- $given := dict -}}
{{- range .Values.extraRuntimes }}
  {{- if hasKey $given .version }}{{ fail (printf "extraRuntimes names the version %q twice" .version) }}{{ end -}}
  {{- $_ := set $given .version . -}}
{{- end -}}
{{- $all := list -}}
{{- range .Values.runtimes }}
  {{- $all = append $all (get $given .version | default .) -}}
  {{- $_ := unset $given .version -}}
{{- end -}}
{{- range .Values.extraRuntimes }}
  {{- if hasKey $given .version }}{{ $all = prepend $all . }}{{ end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* What the operator reads at its start: operator/triton_vllm_operator/api/platform.py. */}}
{{- define "operator.settings" -}}
runtimes.yaml: |
  {{- include "operator.runtimes" . | nindent 2 }}
policy.yaml: |
  {{- $tools := .Values.modelTools.image }}
  {{- $pods := dict "toolsImage" (printf "%s:%s" $tools.repository ($tools.tag | default .Chart.AppVersion)) }}
  {{- $pods = merge $pods (dict "setUser" .Values.podSecurity.setUser "proxy" .Values.fetch.proxy "caBundle" .Values.fetch.caBundle) }}
  {{- dict "allow" .Values.allow "pods" $pods | toYaml | nindent 2 }}
{{- end -}}

{{/* Exactly the verbs that the operator uses, on exactly the resources that it touches. */}}
{{- define "operator.rules" -}}
- apiGroups: [triton-vllm.dev]
  resources: [llmdeployments]
  verbs: [list, watch]
- apiGroups: [triton-vllm.dev]
  resources: [llmdeployments/status]
  verbs: [patch]
# Children carry an owner reference that blocks the owner's deletion; setting it takes this right
# where the cluster enforces OwnerReferencesPermissionEnforcement.
- apiGroups: [triton-vllm.dev]
  resources: [llmdeployments/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Deleted are pods of LLMDeployments whose engines are dead, so that others start, and old ones that failed. All pods are listed while a model is updated, for what of each
# node is free: sums, of which nothing else is kept.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
# How far the fetch of a model is.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Why Kubernetes makes no pod for a Job, and why a node does not start one: nothing else says it. And to tell what happens.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
{{- end -}}
