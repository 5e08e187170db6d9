package programs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func source(t *testing.T) string {
	t.Helper()
	dir, err := findSource()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestNeed builds the smallest program into an empty cache, and finds it built the second time.
func TestNeed(t *testing.T) {
	var out bytes.Buffer
	s := Shelf{Dir: filepath.Join(t.TempDir(), "cache"), Source: source(t), Out: &out}
	if err := s.Need(t.Context(), "pause"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "building pause") || !strings.Contains(out.String(), "built pause in") {
		t.Errorf("it says %q", out.String())
	}
	path, err := s.Path("pause", "pause")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "written")
	if text, err := exec.Command(path, "write", file).CombinedOutput(); err != nil {
		t.Errorf("the program does not run: %v: %s", err, text)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "written\n" {
		t.Errorf("it wrote %q, %v", data, err)
	}
	out.Reset()
	if tool, err := s.Tool(t.Context(), "pause"); err != nil || tool != path || out.Len() > 0 {
		t.Errorf("the second time gives %s, %v and says %q", tool, err, out.String())
	}
	left, err := filepath.Glob(filepath.Join(s.Dir, "building-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestFailedBuild gives a source that does not compile: nothing may look built afterwards.
func TestFailedBuild(t *testing.T) {
	s := Shelf{Dir: t.TempDir(), Source: t.TempDir(), Out: &bytes.Buffer{}}
	for name, text := range map[string]string{"go.mod": "module x\n\ngo 1.26.0\n", "go.sum": "", "pause/main.go": "package main\n\nfunc main() { nonsense }\n"} {
		path := filepath.Join(s.Source, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before, err := s.Path("pause", "pause")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Need(t.Context(), "pause")
	if err == nil || !strings.Contains(err.Error(), "build pause") || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("the error is %v", err)
	}
	if missing, err := s.Missing([]string{"pause"}); err != nil || len(missing) != 1 {
		t.Errorf("missing %v, %v; want pause", missing, err)
	}
	if err := os.WriteFile(filepath.Join(s.Source, "pause/main.go"), []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if after, err := s.Path("pause", "pause"); err != nil || after == before {
		t.Errorf("another source has the same path %s, %v", after, err)
	}
}

// TestCatalogueFitsTheModule compares versions that are written in two places.
func TestCatalogueFitsTheModule(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(source(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "k8s.io/kubernetes v"+KubernetesVersion+"\n") {
		t.Errorf("the module requires another Kubernetes than %s", KubernetesVersion)
	}
	for _, part := range []string{"api", "client-go", "kubelet", "kubectl"} {
		if want := "k8s.io/" + part + " => k8s.io/" + part + " v0." + strings.TrimPrefix(KubernetesVersion, "1."); !strings.Contains(string(mod), want+"\n") {
			t.Errorf("the module does not say %s", want)
		}
	}
	for _, name := range Node() {
		if !slices.Contains(Tools(), name) {
			t.Errorf("program %s is needed and not known", name)
		}
	}
	s := Shelf{Dir: t.TempDir(), Source: source(t), Out: &bytes.Buffer{}}
	if _, err := s.Tool(t.Context(), "nonsense"); err == nil || !strings.Contains(err.Error(), "kube-apiserver") {
		t.Errorf("an unknown tool gives %v", err)
	}
}
