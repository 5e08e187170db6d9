// Package machine finds out whether a machine can hold a dev cluster, before anything is changed on it,
// and installs what a Debian machine lacks.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// PluginDirs are the places where container network plugins are looked for, Debian's first.
func PluginDirs() []string { return []string{"/usr/lib/cni", "/opt/cni/bin"} }

const (
	// minMemory lets three nodes and a few Pods run; minDisk holds state and what is built.
	minMemory = 2 << 30
	minDisk   = 5 << 30
)

// need is a file that must be there: one of several paths or a program on PATH, and the Debian package
// that brings it.
type need struct {
	what    string
	program string   // looked for on PATH
	anyOf   []string // or one of these files
	pkg     string
}

func needs() []need {
	var plugins []need
	for _, name := range []string{"ptp", "host-local", "loopback"} {
		var paths []string
		for _, dir := range PluginDirs() {
			paths = append(paths, filepath.Join(dir, name))
		}
		plugins = append(plugins, need{what: "network plugin " + name, anyOf: paths, pkg: "containernetworking-plugins"})
	}
	return append([]need{
		{what: "container runtime runc", program: "runc", pkg: "runc"},
		{what: "firewall tool nft", program: "nft", pkg: "nftables"},
	}, plugins...)
}

// View is what a check sees of the machine; tests bring their own.
type View struct {
	OS         string
	UID        int
	LookPath   func(string) (string, error)
	Exists     func(string) bool
	Cgroups    func() ([]string, error) // the controllers that are missing
	Kernel     func() error             // bridge, veth, namespaces
	Memory     uint64                   // bytes
	Disk       uint64                   // bytes free for state
	Filesystem func() (string, error)   // /proc/filesystems
}

// Finding is one thing that is missing. Package is the Debian package that brings it, where there is one.
type Finding struct {
	What    string
	Package string
}

// Check lists everything that stands in the way, not only the first.
func Check(v View) []Finding {
	if v.OS != "linux" {
		return []Finding{{What: "a dev cluster needs Linux, this is " + v.OS + ": use a Linux machine, or give KUBECONFIG for a cluster elsewhere"}}
	}
	if v.UID != 0 {
		return []Finding{{What: "a dev cluster needs root, for namespaces, mounts and control groups: run it with sudo"}}
	}
	var found []Finding
	for _, n := range needs() {
		if !v.has(n) {
			found = append(found, Finding{What: n.what + " is not installed", Package: n.pkg})
		}
	}
	if missing, err := v.Cgroups(); err != nil {
		found = append(found, Finding{What: err.Error()})
	} else if len(missing) > 0 {
		found = append(found, Finding{What: "control group controllers are missing: " + strings.Join(missing, ", ")})
	}
	if err := v.Kernel(); err != nil {
		found = append(found, Finding{What: "the kernel lacks something: " + err.Error()})
	}
	if list, err := v.Filesystem(); err != nil || !slices.Contains(strings.Fields(list), "overlay") {
		found = append(found, Finding{What: "the kernel lacks the overlay file system: modprobe overlay"})
	}
	if v.Memory < minMemory {
		found = append(found, Finding{What: fmt.Sprintf("%d MiB of memory is too little: %d are needed", v.Memory>>20, minMemory>>20)})
	}
	if v.Disk < minDisk {
		found = append(found, Finding{What: fmt.Sprintf("%d MiB free in /var/lib is too little: %d are needed", v.Disk>>20, minDisk>>20)})
	}
	return found
}

func (v View) has(n need) bool {
	if n.program != "" {
		_, err := v.LookPath(n.program)
		return err == nil
	}
	return slices.ContainsFunc(n.anyOf, v.Exists)
}

// Here is the view of the machine that this process runs on.
func Here(goos string, cgroups func() ([]string, error), kernel func() error) View {
	v := View{
		OS: goos, UID: os.Geteuid(), LookPath: exec.LookPath, Cgroups: cgroups, Kernel: kernel,
		Exists:     func(path string) bool { _, err := os.Stat(path); return err == nil },
		Filesystem: filesystems,
	}
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		v.Memory = uint64(info.Totalram) * uint64(info.Unit)
	}
	var disk syscall.Statfs_t
	if syscall.Statfs("/var/lib", &disk) == nil {
		v.Disk = disk.Bavail * uint64(disk.Bsize)
	}
	return v
}

// filesystems reads what the kernel knows, after asking for the one that may be a module yet to be loaded.
func filesystems() (string, error) {
	data, err := os.ReadFile("/proc/filesystems")
	if err == nil && !strings.Contains(string(data), "\toverlay\n") {
		_ = exec.Command("modprobe", "overlay").Run() // the check below tells whether it helped
		data, err = os.ReadFile("/proc/filesystems")
	}
	return string(data), err
}

// Prepare checks the machine and installs the packages that it lacks, where that is possible. What it
// cannot mend becomes one error that lists everything.
func Prepare(ctx context.Context, v View, out io.Writer) error {
	found := Check(v)
	if packages := packagesOf(found); len(packages) > 0 && mendable(found) {
		if _, err := v.LookPath("apt-get"); err == nil {
			if err := install(ctx, packages, out); err != nil {
				return err
			}
			found = Check(v)
		}
	}
	if len(found) == 0 {
		return nil
	}
	lines := make([]string, 0, len(found))
	for _, f := range found {
		line := f.What
		if f.Package != "" {
			line += " (Debian package " + f.Package + ")"
		}
		lines = append(lines, line)
	}
	return errors.New("this machine cannot hold a dev cluster yet:\n  - " + strings.Join(lines, "\n  - "))
}

// packagesOf are the packages that would help, each once.
func packagesOf(found []Finding) []string {
	var packages []string
	for _, f := range found {
		if f.Package != "" && !slices.Contains(packages, f.Package) {
			packages = append(packages, f.Package)
		}
	}
	return packages
}

// mendable says whether packages mend everything. Where they do not, none is installed in vain.
func mendable(found []Finding) bool {
	return !slices.ContainsFunc(found, func(f Finding) bool { return f.Package == "" })
}

func install(ctx context.Context, packages []string, out io.Writer) error {
	fmt.Fprintf(out, "installing Debian packages: %s\n", strings.Join(packages, " "))
	steps := [][]string{
		{"apt-get", "update", "-qq"},
		append([]string{"apt-get", "install", "-y", "-qq", "--no-install-recommends"}, packages...),
	}
	for _, argv := range steps {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, text)
		}
	}
	return nil
}
