{{/* The runtimes as the operator reads them where it may not see cluster-scoped objects. */}}
{{- define "geopod.runtimesFile" -}}
{{- range $name, $spec := .Values.runtimes }}
{{- if $spec }}
---
apiVersion: geopod.dev/v1alpha1
kind: ComputeRuntime
metadata:
  name: {{ $name }}
spec:
  {{- toYaml $spec | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
