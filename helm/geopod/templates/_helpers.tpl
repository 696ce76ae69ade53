{{/* Names are fixed: one release per namespace, and the SDK finds the gateway by its name. */}}

{{- define "geopod.labels" -}}
app.kubernetes.io/name: geopod
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "geopod.selector" -}}
app.kubernetes.io/name: geopod
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "geopod.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "geopod.labels" . | nindent 2 }}
{{- end }}

{{- define "geopod.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "geopod.cluster" -}}
{{- if eq .Values.rbac.scope "cluster" }}true{{ end -}}
{{- end }}

{{/* Namespaces that get a RoleBinding of their own; empty: one ClusterRoleBinding. As JSON. */}}
{{- define "geopod.namespaces" -}}
{{- if .Values.watchNamespaces -}}
{{ .Values.watchNamespaces | toJson }}
{{- else if include "geopod.cluster" . -}}
[]
{{- else -}}
{{ list .Release.Namespace | toJson }}
{{- end -}}
{{- end }}

{{- define "geopod.signingSecret" -}}
{{ .Values.signingKey.existingSecret | default "geopod-signing-key" }}
{{- end }}

{{- define "geopod.priorityClass" -}}
{{- $class := .Values.coordinator.priorityClass -}}
{{- if or (not $class.create) (include "geopod.cluster" .) }}{{ $class.name }}{{ end -}}
{{- end }}

{{- define "geopod.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "geopod.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "geopod.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "geopod.dnsEgress" -}}
- to:
    - namespaceSelector: {}
      podSelector:
        matchLabels:
          k8s-app: kube-dns
    {{- range .Values.networkPolicy.dnsCIDRs }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
  ports:
    - { port: 53, protocol: UDP }
    - { port: 53, protocol: TCP }
{{- end }}
