package life

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"raftsman.dev/controllers"

	api "raftsman.dev/api/v1alpha1"
)

// TestFounderLostBeforeServing loses the founder's disk when the cluster has been formed and nobody served: it is
// abandoned, and birth begins anew under another ID.
func TestFounderLostBeforeServing(t *testing.T) {
	c := newCluster(t, "")
	formed, on, once := make(chan struct{}), make(chan struct{}), sync.Once{}
	f := &fuse{left: -1, hold: func(label string) {
		if label == "POST /v1/change" {
			once.Do(func() { close(formed); <-on })
		}
	}}
	op, err := c.suite.operate(c.namespace, f, c.journal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := op.kill(); err != nil {
			t.Error(err)
		}
	})
	if err := c.apply(t.Context(), "replicas: 3"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-formed:
	case <-time.After(patience):
		t.Fatal("the founder has never been asked to add members")
	}
	first := c.get(t).Status
	if first.ClusterID == "" || first.Founder == "" {
		t.Fatalf("formed without a latch: %+v", first)
	}
	if err := c.suite.world.lose(t.Context(), c.namespace, "demo-0"); err != nil {
		t.Fatal(err)
	}
	close(on)
	second := c.ready(t).Status
	if second.ClusterID == first.ClusterID || second.Founder == first.Founder {
		t.Errorf("born again as %s founded by %s, like before", second.ClusterID, second.Founder)
	}
	c.whole(t, 3)
	if got := c.formed(); !slices.Equal(got, []string{second.ClusterID}) {
		t.Errorf("clusters %v, status says %s", got, second.ClusterID)
	}
}

// TestStatusLost takes the operator's memory away: the members know their cluster, and it is adopted.
func TestStatusLost(t *testing.T) {
	c := newCluster(t, "replicas: 3")
	op := c.operated(t)
	id := c.ready(t).Status.ClusterID
	if err := op.end(); err != nil {
		t.Fatal(err)
	}
	op.done <- nil
	r := c.get(t)
	r.Status = api.RaftClusterStatus{}
	if err := c.suite.api.Status().Update(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	c.operated(t)
	if now := c.ready(t).Status.ClusterID; now != id {
		t.Errorf("the cluster was %s and is %s", id, now)
	}
	if got := c.formed(); !slices.Equal(got, []string{id}) {
		t.Errorf("clusters: %v", got)
	}
	c.whole(t, 3)
}

// TestSizeChangedBeforeBirth wants another number of members while none has started yet.
func TestSizeChangedBeforeBirth(t *testing.T) {
	c := newCluster(t, "{replicas: 5, image: 'raftsman.dev/raftsman:bad'}")
	c.operated(t)
	c.reaches(t, "five Pods that cannot start", func(r *api.RaftCluster) bool {
		return r.Status.Replicas == 5 && strings.Contains(condition(r, api.ConditionReady).Message, "ImagePullBackOff")
	})
	for _, spec := range []string{"{replicas: 5}", "{replicas: 3}"} {
		if err := c.apply(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	c.ready(t)
	c.reaches(t, "three members", func(r *api.RaftCluster) bool {
		return r.Status.VotingMembers == 3 && condition(r, api.ConditionReady).Status == metav1.ConditionTrue
	})
	c.whole(t, 3)
}

// TestEndpoints asks the operator over HTTP whether it is well and what it counts.
func TestEndpoints(t *testing.T) {
	c := newCluster(t, "replicas: 1")
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	health, metrics := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	c.operated(t, func(o *controllers.Options) { o.HealthAddress, o.MetricsAddress = health, metrics })
	c.ready(t)
	for url, says := range map[string]string{
		health + "/healthz": "ok", health + "/readyz": "ok", metrics + "/metrics": "raftsman_operator_steps_total",
	} {
		answer, err := http.Get("http://" + url)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(text), says) {
			t.Errorf("%s: %s, %v, %.200s", url, answer.Status, err, text)
		}
	}
}
