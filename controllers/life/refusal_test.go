package life

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"

	api "raftsman.dev/api/v1alpha1"
)

// refusal is a spec that the API server must refuse, what it was before where that matters, and the words that
// tell what to do.
type refusal struct{ name, before, spec, says string }

func refusals() []refusal {
	return []refusal{
		{"even", "", "{replicas: 4}", "replicas must be odd (or 0 to hibernate)"},
		{"even by an edit", "{replicas: 3}", "{replicas: 2}", "choose an odd number or set allowEvenReplicas: true"},
		{"negative", "", "{replicas: -1}", "should be greater than or equal to 0"},
		{"too many", "", "{replicas: 17}", "should be less than or equal to 15"},
		{"shrinking storage", "{storage: {size: 2Gi}}", "{storage: {size: 1Gi}}", "storage may not shrink: a volume cannot be made smaller; keep storage.size, or make a new cluster"},
		{"another class", "{storage: {className: a}}", "{storage: {className: b}}", "storage.className is fixed when the cluster is made"},
		{"a class added", "{storage: {size: 1Gi}}", "{storage: {className: b}}", "storage.className is fixed when the cluster is made"},
		{"another access mode", "{}", "{storage: {accessMode: ReadWriteOncePod}}", "storage.accessMode is fixed when the cluster is made"},
		{"shared access", "", "{storage: {accessMode: ReadWriteMany}}", "supported values"},
		{"hasty elections", "", "{electionTimeout: 300ms, heartbeatInterval: 100ms}", "electionTimeout must be at least 5 times heartbeatInterval"},
		{"hasty against the default", "", "{electionTimeout: 400ms}", "electionTimeout must be at least 5 times heartbeatInterval"},
		{"short elections", "", "{electionTimeout: 50ms, heartbeatInterval: 10ms}", "electionTimeout must be between 100ms and 60s"},
		{"rare heartbeats", "", "{electionTimeout: 60s, heartbeatInterval: 11s}", "heartbeatInterval must be between 10ms and 10s"},
		{"no duration", "", "{electionTimeout: soon}", "spec.electionTimeout"},
		{"no pull policy", "", "{imagePullPolicy: Sometimes}", "supported values"},
		{"no retention", "", "{storage: {retention: {whenScaled: Burn}}}", "supported values"},
		{"no size", "", "{storage: {size: much}}", "spec.storage.size"},
		{"no grace", "", "{terminationGracePeriodSeconds: 1}", "should be greater than or equal to 5"},
	}
}

// TestRefusals tries specs that must never be stored, and looks that the message says what to do.
func TestRefusals(t *testing.T) {
	c := newCluster(t, "")
	for i, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			one := *c
			one.name = fmt.Sprintf("refused-%c", 'a'+i)
			if r.before != "" {
				if err := one.apply(t.Context(), r.before); err != nil {
					t.Fatalf("the spec before: %v", err)
				}
			}
			err := one.apply(t.Context(), r.spec)
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), r.says) {
				t.Errorf("%s: got %v, want a refusal that says %q", r.spec, err, r.says)
			}
		})
	}
	for _, name := range []string{"1st", strings.Repeat("a", 46), "a.b"} {
		t.Run("name "+name, func(t *testing.T) {
			one := *c
			one.name = name
			if err := one.apply(t.Context(), "{}"); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "metadata.name must be at most 45 characters") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestDefaults makes a cluster of nothing but a name.
func TestDefaults(t *testing.T) {
	c := newCluster(t, "{}")
	s := c.get(t).Spec
	if s.Replicas == nil || *s.Replicas != 3 || s.Storage.Size.String() != "1Gi" || s.ElectionTimeout != "1s" || s.HeartbeatInterval != "100ms" ||
		s.ImagePullPolicy != corev1.PullIfNotPresent || s.Storage.Retention.WhenDeleted != api.Retain || s.Storage.Retention.WhenScaled != api.Delete ||
		s.TerminationGracePeriodSeconds == nil || *s.TerminationGracePeriodSeconds != 30 {
		t.Errorf("defaults: %+v", s)
	}
}

// TestSpecThatKubernetesRefuses passes the definition and is refused when the StatefulSet is applied: that is said
// once, and heals with the spec.
func TestSpecThatKubernetesRefuses(t *testing.T) {
	c := newCluster(t, "{replicas: 3, resources: {requests: {memory: 2Gi}, limits: {memory: 1Gi}}}")
	c.operated(t)
	r := c.reaches(t, "Stalled by InvalidSpec", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionStalled).Reason == api.ReasonInvalidSpec
	})
	if condition(r, api.ConditionReconciling).Type != "" || condition(r, api.ConditionReady).Status == metav1.ConditionTrue ||
		!strings.Contains(condition(r, api.ConditionStalled).Message, "memory") {
		t.Errorf("an invalid spec: %s", brief(r))
	}
	c.stays(t, 4e9, r.ResourceVersion)
	if err := c.apply(t.Context(), "{replicas: 3}"); err != nil {
		t.Fatal(err)
	}
	c.ready(t)
	c.whole(t, 3)
}

// TestNameThatIsTaken leaves somebody else's Service alone and says so.
func TestNameThatIsTaken(t *testing.T) {
	c := newCluster(t, "")
	other := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "demo"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if err := c.suite.api.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := c.apply(t.Context(), "{}"); err != nil {
		t.Fatal(err)
	}
	c.operated(t)
	r := c.reaches(t, "Stalled by InvalidSpec", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionStalled).Reason == api.ReasonInvalidSpec
	})
	if !strings.Contains(condition(r, api.ConditionStalled).Message, "Service demo exists and is not of this RaftCluster") {
		t.Errorf("a taken name: %s", brief(r))
	}
	if err := c.suite.api.Delete(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	c.ready(t)
}
