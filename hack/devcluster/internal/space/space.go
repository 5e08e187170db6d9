// Package space makes the machine-within-the-machine that a node is: a network namespace and a mount
// namespace, kept alive by a process that does nothing else (the holder), and entered by all others.
//
// In its mount namespace a node has a /run, a /var/lib, a /var/log and a resolv.conf of its own, so that
// programs that insist on paths there (containerd's shims, the kubelet, the CNI cache) never meet those of
// another node or of the machine. Nothing that is mounted in there is seen outside of it, and all of it
// goes with the last process inside. It also sees, in place of the kernel settings that a kubelet insists
// on, files that hold the wanted values: the kubelet is content and the machine's settings stay as they are.
package space

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Node says what a holder builds.
type Node struct {
	Keep []string // directories that stay visible wherever they lie: of the clusters, of the programs
	Dir  string   // this node's own directory
	DNS  string   // the address of the cluster's DNS service
	// Domain is the cluster's DNS domain: names without a dot are looked up in its namespace default.
	Domain string
}

// private are the directories that a node has for itself, and where they lie in its own directory.
func (n Node) private() [][2]string {
	return [][2]string{
		{n.Path("var-lib"), "/var/lib"},
		{n.Path("var-log"), "/var/log"},
		{n.Path("run"), "/run"},
	}
}

// Path is a file of the node's directory.
func (n Node) Path(elem ...string) string {
	return filepath.Join(append([]string{n.Dir}, elem...)...)
}

// wanted are the kernel settings that a kubelet wants or else sets itself, for the whole machine.
func wanted() map[string]string {
	return map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
}

// Hold builds the node in the namespaces that this process was started in, writes a line to ready, and
// waits for SIGTERM. The caller has given it namespaces of its own (see Attributes).
func Hold(n Node, ready *os.File) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if err := n.mounts(); err != nil {
		return err
	}
	if err := sysctls(); err != nil {
		return err
	}
	if _, err := ready.WriteString("ready\n"); err != nil {
		return err
	}
	if err := ready.Close(); err != nil {
		return err
	}
	<-stop
	return nil
}

// Attributes make a started process the first in new namespaces, as Hold needs them.
func Attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
}

// mounts lays the node's own directories over the machine's. Its own copy of the mount table is private
// while it does so, and shared within the node afterwards, which the kubelet wants for volumes.
func (n Node) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	resolv, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for from, to := range n.kept() {
		if err := bind(from, to, true); err != nil {
			return err
		}
	}
	for _, p := range n.private() {
		if err := bind(p[0], p[1], true); err != nil {
			return err
		}
	}
	if err := n.resolver(resolv); err != nil {
		return err
	}
	for name, value := range wanted() {
		if err := n.pretend(name, value); err != nil {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts within the node: %w", err)
	}
	return nil
}

// kept says which directories the node's own ones would hide, and where in those they must be seen.
func (n Node) kept() map[string]string {
	kept := map[string]string{}
	for _, dir := range n.Keep {
		for _, p := range n.private() {
			if rest, ok := strings.CutPrefix(dir, p[1]+"/"); ok {
				kept[dir] = filepath.Join(p[0], rest)
			}
		}
	}
	return kept
}

func bind(from, to string, dir bool) error {
	if dir {
		for _, d := range []string{from, to} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return err
			}
		}
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}

// resolver makes the names of the cluster's Services resolve for programs that run on the node. target is
// where /etc/resolv.conf leads to; it may lie in /run, which is empty by now.
func (n Node) resolver(target string) error {
	if target == "" {
		return nil
	}
	text := fmt.Sprintf("nameserver %s\nsearch default.svc.%s svc.%s %s\noptions ndots:5\n", n.DNS, n.Domain, n.Domain, n.Domain)
	file := n.Path("resolv.conf")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, nil, 0o644); err != nil {
			return err
		}
	}
	return bind(file, target, false)
}

// pretend lays a file with a value over a kernel setting. A kernel without that setting needs no cover.
func (n Node) pretend(name, value string) error {
	setting := "/proc/sys/" + name
	if _, err := os.Stat(setting); err != nil {
		return nil
	}
	file := n.Path("sysctl", strings.ReplaceAll(name, "/", "."))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
		return err
	}
	return bind(file, setting, false)
}

// sysctls sets what a node's network needs. All of it belongs to the network namespace, not to the machine.
func sysctls() error {
	needed := map[string]string{
		"net/ipv4/ip_forward":             "1",
		"net/ipv4/conf/all/rp_filter":     "0",
		"net/ipv4/conf/default/rp_filter": "0",
	}
	for name, value := range needed {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	// Frames between nodes cross the first node's bridge and are none of its firewall's business. Without
	// the bridge filter there is nothing to switch off.
	filter := "/proc/sys/net/bridge/bridge-nf-call-iptables"
	if err := os.WriteFile(filter, []byte("0"), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set %s: %w", filter, err)
	}
	return nil
}

// Entry says where Enter goes.
type Entry struct {
	PID   int    // a process inside
	Mount bool   // into its mount namespace too, not only the network
	Procs string // a cgroup.procs file to join first, or empty
}

// Enter replaces this process by argv inside the namespaces of another. It returns only in failure.
func Enter(e Entry, argv []string) error {
	if err := Join(e.Procs); err != nil {
		return err
	}
	path, err := lookPath(argv[0])
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	runtime.LockOSThread() // execve keeps the namespaces of the thread that calls it
	if err := join(e.PID, "net", unix.CLONE_NEWNET); err != nil {
		return err
	}
	if e.Mount {
		// A thread that shares its root and working directory with others may not change the mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := join(e.PID, "mnt", unix.CLONE_NEWNS); err != nil {
			return err
		}
		if unix.Chdir(dir) != nil { // it may not exist inside
			_ = unix.Chdir("/")
		}
	}
	return fmt.Errorf("run %s: %w", path, unix.Exec(path, argv, os.Environ()))
}

// Join puts this process into the control group of a cgroup.procs file. An empty name is none.
func Join(procs string) error {
	if procs == "" {
		return nil
	}
	if err := os.WriteFile(procs, []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return fmt.Errorf("join control group: %w", err)
	}
	return nil
}

func join(pid int, kind string, flag int) error {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("enter %s namespace of process %d: %w", kind, pid, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, flag); err != nil {
		return fmt.Errorf("enter %s namespace of process %d: %w", kind, pid, err)
	}
	return nil
}

func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return filepath.Abs(name)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s is not on PATH", name)
}
