//go:build !linux

package local

import "syscall"

// attributes: only Linux ends a child with its parent.
func attributes() *syscall.SysProcAttr { return nil }
