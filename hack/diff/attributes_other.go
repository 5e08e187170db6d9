//go:build !linux

package main

import "syscall"

// attributes: only Linux ends a child with its parent.
func attributes(syscall.Signal) *syscall.SysProcAttr { return nil }
