package main

import "syscall"

// attributes keep a terminal's interrupt from a program before its turn, and end it when this process does, however that
// happens: nothing is left behind that holds ports.
func attributes(end syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: end}
}
