package machine

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// able is a machine that lacks nothing.
func able() View {
	return View{
		OS: "linux", UID: 0, Memory: minMemory, Disk: minDisk,
		LookPath:   func(name string) (string, error) { return "/usr/bin/" + name, nil },
		Exists:     func(string) bool { return true },
		Cgroups:    func() ([]string, error) { return nil, nil },
		Kernel:     func() error { return nil },
		Filesystem: func() (string, error) { return "nodev\toverlay\n\text4\n", nil },
	}
}

func TestCheck(t *testing.T) {
	if found := Check(able()); len(found) != 0 {
		t.Fatalf("an able machine lacks %v", found)
	}
	for want, spoil := range map[string]func(*View){
		"needs Linux":          func(v *View) { v.OS = "darwin" },
		"needs root":           func(v *View) { v.UID = 1000 },
		"runc":                 func(v *View) { v.LookPath = without("runc") },
		"nft":                  func(v *View) { v.LookPath = without("nft") },
		"plugin ptp":           func(v *View) { v.Exists = func(p string) bool { return !strings.HasSuffix(p, "/ptp") } },
		"missing: memory, cpu": func(v *View) { v.Cgroups = func() ([]string, error) { return []string{"memory", "cpu"}, nil } },
		"no control groups":    func(v *View) { v.Cgroups = func() ([]string, error) { return nil, errors.New("no control groups") } },
		"kernel module veth":   func(v *View) { v.Kernel = func() error { return errors.New("kernel module veth") } },
		"overlay":              func(v *View) { v.Filesystem = func() (string, error) { return "\text4\n", nil } },
		"of memory":            func(v *View) { v.Memory-- },
		"free in /var/lib":     func(v *View) { v.Disk-- },
	} {
		v := able()
		spoil(&v)
		found := Check(v)
		if len(found) != 1 || !strings.Contains(found[0].What, want) {
			t.Errorf("spoiled by %q, the check finds %v", want, found)
		}
	}
}

func without(name string) func(string) (string, error) {
	return func(asked string) (string, error) {
		if asked == name {
			return "", errors.New("not found")
		}
		return "/usr/bin/" + asked, nil
	}
}

// TestPrepareListsEverything has a machine that lacks several things, of which packages mend only some:
// nothing may be installed, and all must be named at once.
func TestPrepareListsEverything(t *testing.T) {
	v := able()
	v.LookPath = func(name string) (string, error) {
		if name == "apt-get" {
			t.Error("apt-get is asked for though packages do not mend this machine")
		}
		return "", errors.New("not found")
	}
	v.Memory = 0
	var out bytes.Buffer
	err := Prepare(t.Context(), v, &out)
	if err == nil {
		t.Fatal("a machine without runc is found able")
	}
	for _, want := range []string{"runc", "Debian package runc", "Debian package nftables", "memory"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if out.Len() > 0 {
		t.Errorf("it says %q", out.String())
	}
}

// TestPrepareWithoutAptGet has nothing to install with: what is missing must still be named.
func TestPrepareWithoutAptGet(t *testing.T) {
	v := able()
	v.LookPath = func(string) (string, error) { return "", errors.New("not found") }
	v.Exists = func(string) bool { return false }
	err := Prepare(t.Context(), v, &bytes.Buffer{})
	if err == nil || strings.Count(err.Error(), "containernetworking-plugins") != len(needs())-2 {
		t.Errorf("the error is %v", err)
	}
	if packages := packagesOf(Check(v)); len(packages) != 3 {
		t.Errorf("packages %v, want each of three once", packages)
	}
}
