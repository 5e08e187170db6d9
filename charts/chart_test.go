// Package charts holds the tests of the Helm chart, with the real helm. It has no code of its own.
package charts

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// rewrite makes the golden files anew: go test ./charts -args -rewrite.
var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// helm runs the real one: from PATH, or built by hack/devcluster.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("helm")
	if err != nil {
		build := exec.Command("go", "run", ".", "tool", "helm")
		build.Dir = "../hack/devcluster"
		build.Stderr = os.Stderr
		out, err := build.Output()
		if err != nil {
			t.Fatalf("helm is not on PATH, and hack/devcluster cannot build it: %v", err)
		}
		path = strings.TrimSpace(string(out))
	}
	var out, problems bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return out.String() + problems.String(), err
	}
	return out.String(), nil
}

// template renders the chart as a release named raftsman in raftsman-system.
func template(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helm(t, append([]string{"template", "raftsman", "raftsman", "--namespace=raftsman-system"}, args...)...)
	if err != nil {
		t.Fatalf("helm template %v: %v\n%s", args, err, out)
	}
	return out
}

func TestLint(t *testing.T) {
	if out, err := helm(t, "lint", "--strict", "raftsman"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestGolden renders the chart with each testdata/*.values.yaml. The definition is left out: TestDefinition is for it.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no values: %v", err)
	}
	for _, values := range cases {
		t.Run(filepath.Base(values), func(t *testing.T) {
			got := template(t, "--set=crds.enabled=false", "--values="+values)
			golden := strings.TrimSuffix(values, ".values.yaml") + ".golden.yaml"
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs; look at the diff after: go test ./charts -args -rewrite\n%s", golden, got)
			}
		})
	}
}

// TestDefinition compares the chart's definition of RaftCluster with the one made from the Go types.
func TestDefinition(t *testing.T) {
	text, err := os.ReadFile("../config/crd/bases/raftsman.dev_raftclusters.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, keep := fields(t, string(text)), "helm.sh/resource-policy"
	for _, set := range []string{"crds.keep=true", "crds.keep=false"} {
		got := fields(t, template(t, "--show-only=templates/crd-raftclusters.yaml", "--set="+set))
		notes := got["metadata"].(map[string]any)["annotations"].(map[string]any)
		if kept := notes[keep] == "keep"; kept != (set == "crds.keep=true") {
			t.Errorf("%s: annotations %v", set, notes)
		}
		delete(notes, keep)
		if !bytes.Equal(encode(t, got), encode(t, want)) {
			t.Errorf("%s: the chart's definition is not the one of config/crd", set)
		}
	}
	if out := template(t, "--set=crds.enabled=false"); strings.Contains(out, "kind: CustomResourceDefinition") {
		t.Error("crds.enabled=false renders the definition")
	}
}

func fields(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestImage: the tag is the chart's appVersion unless one is given, and members get the operator's image.
func TestImage(t *testing.T) {
	chart, err := os.ReadFile("raftsman/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	app := fields(t, string(chart))["appVersion"].(string)
	for set, want := range map[string]string{
		"replicas=1": "raftsman.dev/raftsman:" + app,
		"image.repository=example.org:5000/raftsman,image.tag=v9": "example.org:5000/raftsman:v9",
	} {
		out := template(t, "--set="+set, "--show-only=templates/deployment.yaml")
		if n := strings.Count(out, want+`"`); n != 2 {
			t.Errorf("%s: %s is named %d times, want twice: the operator's image and the members'\n%s", set, want, n, out)
		}
	}
}

// TestRolesWhereWatched: with watchNamespaces the operator gets a Role in each of them and no right beyond.
func TestRolesWhereWatched(t *testing.T) {
	in := map[string]int{}
	for _, doc := range strings.Split(template(t, "--set=watchNamespaces={blue,green}", "--show-only=templates/rbac.yaml"), "\n---\n") {
		role := rbacv1.Role{}
		if err := yaml.Unmarshal([]byte(doc), &role); err != nil {
			t.Fatal(err)
		}
		in[role.Kind+" "+role.Namespace]++
		if role.Kind == "ClusterRoleBinding" {
			t.Errorf("a ClusterRoleBinding: %s", doc)
		}
	}
	for _, want := range []string{"Role blue", "Role green", "RoleBinding blue", "RoleBinding green"} {
		if in[want] != 1 {
			t.Errorf("%s: %d of them, in %v", want, in[want], in)
		}
	}
	if out := template(t, "--set=watchNamespaces={blue,green}", "--show-only=templates/deployment.yaml"); !strings.Contains(out, "--watch-namespaces=blue,green") {
		t.Error("the operator is not told which namespaces to watch")
	}
}

// TestRefusals tries values that cannot be meant.
func TestRefusals(t *testing.T) {
	for _, set := range []string{
		"replicas=many", "replicas=9", "image.repository=", "image.pullPolicy=Sometimes", "watchNamespaces=blue", "watchNamespaces={Blue}",
		"operator.logLevel=loud", "operator.concurrency=0", "operator.pollInterval=often", "metrics.port=80", "metrics.port=8081",
		"crds.kept=true", "replica=2", "nodeSelector.a=1", "imagePullSecrets={a}",
	} {
		out, err := helm(t, "template", "raftsman", "raftsman", "--set="+set)
		if err == nil || !strings.Contains(out, "schema") {
			t.Errorf("%s: err %v, output %.300s", set, err, out)
		}
	}
}

// TestEveryValueIsExplained: each value has a comment of its own right above it.
func TestEveryValueIsExplained(t *testing.T) {
	text, err := os.ReadFile("raftsman/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	depth := map[string]bool{"resources": true, "podSecurityContext": true, "securityContext": true}
	inside := false
	for i, line := range lines {
		name, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.HasPrefix(name, "#") || strings.HasPrefix(name, "-") {
			continue
		}
		if !strings.HasPrefix(line, " ") {
			inside = depth[name]
		} else if inside {
			continue // Kubernetes' own fields
		}
		group := strings.HasSuffix(strings.TrimRight(line, " "), ":")
		if !group && !strings.HasPrefix(strings.TrimSpace(lines[max(0, i-1)]), "#") {
			t.Errorf("values.yaml line %d: %s has no comment", i+1, name)
		}
	}
}

// TestOneVersion: the chart, what it installs and the manifest of config/default are one release.
func TestOneVersion(t *testing.T) {
	read := func(file string) map[string]any {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return fields(t, string(text))
	}
	chart := read("raftsman/Chart.yaml")
	image := read("../config/default/kustomization.yaml")["images"].([]any)[0].(map[string]any)
	if chart["version"] != chart["appVersion"] || image["newTag"] != chart["appVersion"] {
		t.Errorf("chart %v installs %v, and config/default %v", chart["version"], chart["appVersion"], image["newTag"])
	}
}
