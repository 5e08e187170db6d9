package resource

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	api "raftsman.dev/api/v1alpha1"
)

// rewrite makes the golden files anew: go test ./controllers/resource -args -rewrite.
var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	samples, err := filepath.Glob("testdata/*.cr.yaml")
	if err != nil || len(samples) == 0 {
		t.Fatalf("no sample: %v", err)
	}
	for _, sample := range samples {
		t.Run(filepath.Base(sample), func(t *testing.T) {
			objects, err := All(load(t, sample), Defaults{Image: "raftsman.dev/raftsman:0.1.0"}, Sizes{Replicas: 2, Guard: 1})
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for _, o := range objects {
				text, err := yaml.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				out.WriteString("---\n" + string(text))
			}
			golden := strings.TrimSuffix(sample, ".cr.yaml") + ".golden.yaml"
			if *rewrite {
				if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("%s differs; look at the diff after: go test ./controllers/resource -args -rewrite\n%s", golden, out.String())
			}
		})
	}
}

func load(t *testing.T, file string) *api.RaftCluster {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &api.RaftCluster{}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOwnLabelsWin(t *testing.T) {
	c := load(t, "testdata/demo.cr.yaml")
	c.Spec.Labels = map[string]string{api.LabelCluster: "other", api.LabelInstance: "other", "team": "blue"}
	got := StatefulSet(c, Defaults{}, Sizes{Replicas: 3}).Spec.Template.Labels
	if got[api.LabelCluster] != "demo" || got[api.LabelInstance] != "demo" || got["team"] != "blue" {
		t.Errorf("labels of the Pods: %v", got)
	}
}

func TestSignatureSeesWhatIsTakenAway(t *testing.T) {
	c := load(t, "testdata/demo.cr.yaml")
	c.Spec.NodeSelector = map[string]string{"disk": "fast"}
	before := signature(t, c)
	c.Spec.NodeSelector = nil
	if signature(t, c) == before {
		t.Error("a node selector was taken away and the checksum is the same")
	}
}

func signature(t *testing.T, c *api.RaftCluster) string {
	t.Helper()
	objects, err := All(c, Defaults{Image: "i"}, Sizes{})
	if err != nil {
		t.Fatal(err)
	}
	return objects[len(objects)-1].GetAnnotations()[api.AnnotationApplied]
}

func TestSpreadFillsInTheSelector(t *testing.T) {
	c := load(t, "testdata/demo.cr.yaml")
	c.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "rack", WhenUnsatisfiable: corev1.DoNotSchedule}}
	got := StatefulSet(c, Defaults{}, Sizes{Replicas: 3}).Spec.Template.Spec.TopologySpreadConstraints
	if len(got) != 1 || got[0].TopologyKey != "rack" || got[0].LabelSelector.MatchLabels[api.LabelCluster] != "demo" {
		t.Errorf("spread: %+v", got)
	}
}

func TestTag(t *testing.T) {
	for image, want := range map[string]string{
		"raftsman": "", "raftsman:1.2.3": "1.2.3", "host:5000/raftsman": "", "host:5000/a/raftsman:v1": "v1",
		"host/raftsman:1.2.3@sha256:0123": "1.2.3", "host/raftsman@sha256:0123": "",
	} {
		if got := Tag(image); got != want {
			t.Errorf("the tag of %s is %q, want %q", image, got, want)
		}
	}
}

// TestRestartedAt: the annotation of the RaftCluster is in the template, beside the spec's own.
func TestRestartedAt(t *testing.T) {
	c := &api.RaftCluster{}
	c.Spec.Annotations = map[string]string{"a": "b"}
	if got := StatefulSet(c, Defaults{}, Sizes{Replicas: 1}).Spec.Template.Annotations; len(got) != 1 {
		t.Errorf("without it: %v", got)
	}
	c.Annotations = map[string]string{api.AnnotationRestartedAt: "now", "other": "x"}
	got := StatefulSet(c, Defaults{}, Sizes{Replicas: 1}).Spec.Template.Annotations
	if len(got) != 2 || got["a"] != "b" || got[api.AnnotationRestartedAt] != "now" || len(c.Spec.Annotations) != 1 {
		t.Errorf("with it: %v; the spec's own are %v", got, c.Spec.Annotations)
	}
}

// TestSpreadByDefault: the constraint on nodes stands alone, for beside one on zones the scheduler would ignore both
// on nodes without zones; zones are a preference, which a spec of its own replaces.
func TestSpreadByDefault(t *testing.T) {
	c := &api.RaftCluster{}
	c.Name, c.Namespace = "c", "n"
	made := func() corev1.PodSpec { return pod(c, Defaults{}) }
	got := made()
	if s := got.TopologySpreadConstraints; len(s) != 1 || s[0].TopologyKey != corev1.LabelHostname {
		t.Errorf("spread: %+v", s)
	}
	zones := got.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	if len(zones) != 1 || zones[0].PodAffinityTerm.TopologyKey != corev1.LabelTopologyZone || len(zones[0].PodAffinityTerm.LabelSelector.MatchLabels) == 0 {
		t.Errorf("zones: %+v", zones)
	}
	c.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}
	if got := made(); got.Affinity.NodeAffinity == nil || got.Affinity.PodAntiAffinity == nil || c.Spec.Affinity.PodAntiAffinity != nil {
		t.Errorf("with an affinity of other things: %+v, the spec %+v", got.Affinity, c.Spec.Affinity)
	}
	c.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{}
	if got := made(); len(got.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution) != 0 {
		t.Errorf("the spec's own is not kept: %+v", got.Affinity)
	}
}
