//go:build tools

// Package tools names the commands that this group builds.
package tools

import (
	_ "sigs.k8s.io/kind"
)
