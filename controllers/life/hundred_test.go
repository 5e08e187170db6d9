package life

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
)

// What `make hundred` asks for; as a part of `make test` it is a small crowd and a short rest.
var (
	hundredClusters = flag.Int("hundred.clusters", 5, "how many RaftClusters one operator process looks after")
	hundredP99      = flag.Duration("hundred.p99", 10*time.Second, "what 99 of 100 reconciles must not exceed; beside other tests on a busy machine, more than is promised")
	hundredIdle     = flag.Duration("hundred.idle", 15*time.Second, "for how long nothing happens and the operator must write nothing")
)

const (
	// together is how many RaftClusters of the crowd share a namespace.
	together = 10
	// settled is for how long the operator must have written nothing until it counts as idle: longer than its poll.
	settled = 12 * time.Second
)

// crowd is many RaftClusters under one operator that is a process of its own, and what was measured of it.
type crowd struct {
	suite    *suite
	operator *service
	clusters []*cluster
	patience time.Duration
}

// TestHundred measures the operator's own process while many RaftClusters are born, while many of them are edited at
// once, and while nothing happens: then it must write nothing but the lease by which it leads.
func TestHundred(t *testing.T) {
	if *hundredClusters < 1 || *hundredIdle < settled {
		t.Fatalf("-hundred.clusters is %d and -hundred.idle %s: at least 1 and %s make sense", *hundredClusters, *hundredIdle, settled)
	}
	w := &crowd{suite: shared.suite, patience: time.Minute + time.Duration(*hundredClusters)*6*time.Second}
	operator, err := w.suite.serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.operator = operator
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed=%d; the end of the operator's log:\n%s", w.suite.seed, operator.process.tail())
		}
		w.vanish(t)
		if err := operator.process.end(time.Minute); err != nil {
			t.Errorf("end the operator: %v", err)
		}
	})
	t.Log(heading)
	w.phase(t, "start", func() {})
	w.phase(t, "birth", func() { w.born(t) })
	busy := w.phase(t, "edits", func() { w.edited(t) })
	if len(busy.writes) == 0 {
		t.Fatal("the audit log shows no write while RaftClusters were edited: it would show none of an idle operator either")
	}
	w.phase(t, "settling", func() { w.quiet(t) })
	idle := w.phase(t, "idle", func() { w.idles(t) })
	if n := len(idle.writes); n > 0 {
		t.Errorf("%d writes in %s in which nothing happened: find what changes in status or objects at rest. A write of this test's own took up to %.1f s: "+
			"from about 2 s on, members that share this machine answer too late, what is written tells that truly, and a quieter machine is needed\n%s",
			n, *hundredIdle, exact(idle.own, 1), strings.Join(idle.writes, "\n"))
	}
	t.Logf("idle: %d writes, %d renewals of the lease, reads: %v", len(idle.writes), idle.renewals, idle.reads)
}

// phase runs one phase, says what it has cost, and holds its reconciles to the limit.
func (w *crowd) phase(t *testing.T, name string, run func()) cost {
	t.Helper()
	before, err := w.operator.measure(t.Context())
	if err != nil {
		t.Fatalf("measure the operator before %s: %v", name, err)
	}
	run()
	after, err := w.operator.measure(t.Context())
	if err != nil {
		t.Fatalf("measure the operator after %s: %v", name, err)
	}
	c, err := between(before, after)
	if err != nil {
		t.Fatalf("measure %s: %v", name, err)
	}
	t.Log(c.row(name))
	if name == "start" {
		return c // there is nothing to look after yet, and the row tells the memory that this takes
	}
	if c.times.count() == 0 {
		t.Errorf("%s: not one reconcile was counted: nothing was measured", name)
	}
	if p99 := c.times.quantile(0.99); p99 > hundredP99.Seconds() {
		t.Errorf("%s: one reconcile of a hundred took more than %.2f s, and up to %.2f s, the limit is %s; a write of this test's own took %.3f s: "+
			"if that is much, end what else runs here and measure again", name, c.times.below(0.99), p99, *hundredP99, exact(c.own, 0.99))
	}
	return c
}

// born makes all RaftClusters and waits until all are Ready.
func (w *crowd) born(t *testing.T) {
	t.Helper()
	for i := range *hundredClusters {
		c := &cluster{suite: w.suite, namespace: fmt.Sprintf("hundred-%d", i/together), name: fmt.Sprintf("demo-%d", i)}
		if i%together == 0 {
			if err := w.suite.makeNamespace(t.Context(), c.namespace); err != nil {
				t.Fatal(err)
			}
		}
		w.clusters = append(w.clusters, c)
		if err := c.apply(t.Context(), "replicas: 3"); err != nil {
			t.Fatal(err)
		}
	}
	w.ready(t)
}

// edited edits two of five RaftClusters at once: one grows to five members and later shrinks again, the other is given
// another template, and its Pods are rolled.
func (w *crowd) edited(t *testing.T) {
	t.Helper()
	for _, grown := range []string{"replicas: 5", "replicas: 3"} {
		for i, c := range w.clusters {
			spec := ""
			switch i % 5 {
			case 0:
				spec = grown
			case 1:
				spec = "{replicas: 3, annotations: {note: '" + grown + "'}}"
			default:
				continue
			}
			if err := c.apply(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
		}
		w.ready(t)
	}
}

// ready waits until every RaftCluster is Ready with its present spec, and tells how far that is.
func (w *crowd) ready(t *testing.T) {
	t.Helper()
	told, began := time.Now(), time.Now()
	err := wait(t.Context(), w.patience, "all RaftClusters are Ready", func() error {
		list, n := &api.RaftClusterList{}, 0
		if err := w.suite.api.List(t.Context(), list); err != nil {
			return err
		}
		late := ""
		for i := range list.Items {
			r := &list.Items[i]
			is := condition(r, api.ConditionReady)
			if is.Status == metav1.ConditionTrue && is.ObservedGeneration == r.Generation && r.Status.ReadyReplicas == r.Wanted() {
				n++
			} else if late == "" {
				late = fmt.Sprintf("; %s/%s is %s", r.Namespace, r.Name, brief(r))
			}
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			t.Logf("  %3.0f s: %d of %d are Ready", time.Since(began).Seconds(), n, len(w.clusters))
		}
		if n != len(w.clusters) || w.operator.process.over() {
			return fmt.Errorf("%d of %d are, the operator's process has ended: %v%s", n, len(w.clusters), w.operator.process.over(), late)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("  all %d Ready after %.1f s", len(w.clusters), time.Since(began).Seconds())
}

// quiet waits until the operator has written nothing for longer than it takes to look at every RaftCluster again.
func (w *crowd) quiet(t *testing.T) {
	t.Helper()
	from, since, newest := w.suite.plane.logged(), time.Now(), "none"
	err := wait(t.Context(), w.patience, "the operator comes to rest", func() error {
		to := w.suite.plane.logged()
		seen, err := w.suite.plane.requests(from, to)
		if err != nil {
			return err
		}
		if from = to; len(seen.writes) > 0 {
			since, newest = time.Now(), seen.writes[len(seen.writes)-1]
		}
		if rest := time.Since(since); rest < settled {
			return fmt.Errorf("it has written nothing for %.1f s only: find why it goes on writing; the newest write: %s", rest.Seconds(), newest)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// idles lets time pass, and looks now and then whether the operator still lives.
func (w *crowd) idles(t *testing.T) {
	t.Helper()
	over := time.After(*hundredIdle)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told := time.Now()
	for began := time.Now(); ; {
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-w.operator.process.done:
			t.Fatalf("the operator has ended: %v", w.operator.process.err)
		case <-over:
			return
		case <-tick.C:
		}
		if time.Since(told) > time.Minute {
			told = time.Now()
			t.Logf("  %.0f of %.0f minutes", time.Since(began).Minutes(), hundredIdle.Minutes())
		}
	}
}

// vanish deletes all RaftClusters and waits until their Pods are gone.
func (w *crowd) vanish(t *testing.T) {
	ctx, began := context.Background(), time.Now()
	var err error
	spaces := map[string]bool{}
	for _, c := range w.clusters {
		if !spaces[c.namespace] {
			spaces[c.namespace] = true
			err = errors.Join(err, w.suite.api.DeleteAllOf(ctx, &api.RaftCluster{}, client.InNamespace(c.namespace)))
		}
	}
	gone := wait(ctx, w.patience, "no Pod of them is left", func() error {
		pods := &corev1.PodList{}
		if err := w.suite.api.List(ctx, pods, client.HasLabels{api.LabelCluster}); err != nil {
			return err
		}
		if n := len(pods.Items); n > 0 {
			return fmt.Errorf("%d are, the first is %s/%s", n, pods.Items[0].Namespace, pods.Items[0].Name)
		}
		return nil
	})
	if err := errors.Join(err, gone); err != nil {
		t.Errorf("delete all RaftClusters: %v", err)
		return
	}
	t.Logf("  all deleted after %.1f s", time.Since(began).Seconds())
}
