//go:build tools

// Package tools names the commands that this group builds.
package tools

import (
	_ "helm.sh/helm/v4/cmd/helm"
)
