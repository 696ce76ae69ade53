{{/* What the operator may do in the namespaces that it serves. Source: the project's operator design, §10. */}}
{{- define "geopod.operatorRules" -}}
- apiGroups: [geopod.dev]
  resources: [computeenvironments]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [geopod.dev]
  resources: [computeruns, layers]
  verbs: [get, list, watch, delete]
- apiGroups: [geopod.dev]
  resources: [computeenvironments/status, computeruns/status, layers/status]
  verbs: [get, patch]
- apiGroups: [geopod.dev]
  resources: [computeenvironments/finalizers] # owner references that block deletion
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings] # it can give away only what it has: no escalate, no bind
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets] # its own, by name: it cannot list those of users
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, delete]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [list, create, patch]
{{- end }}

{{- define "geopod.runtimeRules" -}}
- apiGroups: [geopod.dev]
  resources: [computeruntimes]
  verbs: [get, list, watch]
- apiGroups: [geopod.dev]
  resources: [computeruntimes/status]
  verbs: [get, patch]
{{- end }}

{{/* In the release's own namespace: which operator works. */}}
{{- define "geopod.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [geopod-operator]
  verbs: [get, patch]
{{- end }}

{{- define "geopod.viewRules" -}}
- apiGroups: [geopod.dev]
  resources:
    - computeenvironments
    - computeenvironments/status
    - computeruns
    - computeruns/status
    - layers
    - layers/status
  verbs: [get, list, watch]
{{- end }}

{{- define "geopod.editRules" -}}
- apiGroups: [geopod.dev]
  resources: [computeenvironments, computeruns, layers]
  verbs: [create, update, patch, delete, deletecollection]
- apiGroups: [geopod.dev]
  resources: [computeenvironments/scale]
  verbs: [get, update, patch]
{{- end }}

{{- define "geopod.binding" -}}
subjects:
  - kind: ServiceAccount
    name: geopod-operator
    namespace: {{ .Release.Namespace }}
{{- end }}
