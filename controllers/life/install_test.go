package life

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// TestManifest renders the one-file install and has the API server look at every object of it.
func TestManifest(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "install.yaml")
	path, err := program(t.Context(), "kubectl")
	if err != nil {
		t.Fatal(err)
	}
	render := exec.CommandContext(t.Context(), "../../hack/manifest.sh", "example.org:5000/raftsman:v9", file)
	render.Env = append(os.Environ(), "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"))
	if out, err := render.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	kinds := checkInstall(t, string(text), "example.org:5000/raftsman:v9")
	want := []string{
		"ClusterRole", "ClusterRole", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Deployment",
		"Namespace", "Role", "RoleBinding", "Service", "ServiceAccount",
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("the manifest holds %v, want %v", kinds, want)
	}
	dryRun(t, text)
}

// TestChartOnTheAPIServer has the API server look at every object of the chart.
func TestChartOnTheAPIServer(t *testing.T) {
	t.Parallel()
	path, err := program(t.Context(), "helm")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{"image.tag=v9", "image.tag=v9,watchNamespaces={default,raftsman-system},replicas=2"} {
		render := exec.CommandContext(t.Context(), path, "template", "raftsman", "../../charts/raftsman", "--namespace=raftsman-system", "--set="+set)
		var text, problems bytes.Buffer
		render.Stdout, render.Stderr = &text, &problems
		if err := render.Run(); err != nil {
			t.Fatalf("%v\n%s", err, problems.String())
		}
		checkInstall(t, text.String(), "raftsman.dev/raftsman:v9")
		dryRun(t, text.Bytes())
	}
}

// checkInstall lists the kinds of an install's objects and looks at what runs the operator.
func checkInstall(t *testing.T, text, image string) (kinds []string) {
	t.Helper()
	for _, doc := range strings.Split("\n"+text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if o.Object == nil {
			continue
		}
		kinds = append(kinds, o.GetKind())
		if o.GetKind() != "Deployment" {
			continue
		}
		d := &appsv1.Deployment{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, d); err != nil {
			t.Fatal(err)
		}
		checkRestricted(t, d)
		c := d.Spec.Template.Spec.Containers[0]
		members := ""
		for _, e := range c.Env {
			if e.Name == "RAFTSMAN_MEMBER_IMAGE" {
				members = e.Value
			}
		}
		if c.Image != image || members != image {
			t.Errorf("the operator runs %s and gives members %s, want %s for both", c.Image, members, image)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// checkRestricted has the API server admit the operator's Pod to a namespace of the restricted Pod Security Standard.
func checkRestricted(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "raftsman-system", Name: "operator-trial"}, Spec: d.Spec.Template.Spec}
	pod.Spec.ServiceAccountName = "default"
	if err := shared.api.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Errorf("the operator's Pod: %v", err)
	}
}

// dryRun applies objects without storing them: the API server checks each as if it did.
func dryRun(t *testing.T, text []byte) {
	t.Helper()
	path, err := program(t.Context(), "kubectl")
	if err != nil {
		t.Fatal(err)
	}
	apply := exec.CommandContext(t.Context(), path, "--kubeconfig="+shared.plane.kubeconfig, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")
	apply.Stdin = bytes.NewReader(text)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Error(fmt.Errorf("%w\n%s", err, out))
	}
}

// TestSamples has the API server look at config/samples.
func TestSamples(t *testing.T) {
	t.Parallel()
	samples, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(samples) < 2 {
		t.Fatalf("%d samples: %v", len(samples), err)
	}
	for _, file := range samples {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, "kustomization.yaml") {
			dryRun(t, text)
		}
	}
}
