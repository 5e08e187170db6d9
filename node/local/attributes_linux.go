package local

import "syscall"

// attributes makes a child end when the thread that started it does, so that nothing is left behind even
// when this process is killed; and keeps a terminal's interrupt from reaching it before its turn.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
