//go:build tools

// Package tools names the commands that this group builds.
package tools

import (
	_ "github.com/versity/versitygw/cmd/versitygw"
)
