package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/node/admin"
)

// statusLost deletes the object alone, as a backup without status is restored, under load: the members go on, and the
// new object finds and keeps them.
func (s *suite) statusLost(t *testing.T) {
	c := s.fresh(t, "restored", "kept", "{replicas: 3}")
	live := c.ready(t, 3)
	id := live.Status.ClusterID
	before, pods := c.ids(t, 3), c.uids(t)
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": api.GroupVersion().String(), "kind": api.Kind,
		"metadata": map[string]any{"namespace": c.namespace, "name": c.name}, "spec": live.Spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := c.load(t)
	r.during(planned, "object deleted and restored", func() {
		s.kubectl(t, "delete", "raftcluster", "-n", c.namespace, c.name, "--cascade=orphan", "--timeout=60s")
		r.more(300)
		s.apply(t, string(manifest))
		c.ready(t, 3)
	})
	r.steady(r.stop())
	c.samePods(t, pods)
	c.oneCluster(t, 3, id)
	c.same(t, before)
	c.resize(t, 5)
	c.oneCluster(t, 5, id)
}

// upgrade is helm upgrade with values beside the chart's own, and without those of the time before.
func (s *suite) upgrade(t *testing.T, values ...string) {
	t.Helper()
	args := s.release("upgrade", s.chart())
	for _, v := range values {
		args = append(args, "--set", v)
	}
	s.say("  helm upgrade %v", values)
	if _, err := s.k.Run(t.Context(), s.k.Helm, args...); err != nil {
		t.Fatal(err)
	}
}

// chart is the chart of this release.
func (s *suite) chart() string { return filepath.Join(s.repo, "charts/raftsman") }

// release are the arguments with which helm does something to the release and waits for it.
func (s *suite) release(verb, chart string, more ...string) []string {
	return append([]string{verb, release, chart, "--namespace", system, "--wait", "--timeout", "3m", "--set", "image.pullPolicy=Never"}, more...)
}

// inCharge waits until the one operator that runs holds the lease: until then another's work may still be going on.
func (s *suite) inCharge(t *testing.T) {
	t.Helper()
	s.until(t, "the operator holds the lease", func(ctx context.Context) error {
		pods, err := s.k.Pods(ctx, system, api.LabelPart+"=operator")
		if err != nil {
			return err
		}
		holders, err := s.k.Run(ctx, s.k.Kubectl, "get", "leases", "-n", system, "-o", "jsonpath={.items[*].spec.holderIdentity}")
		if err == nil && (len(pods) != 1 || !strings.HasPrefix(holders, pods[0].Name+"_")) {
			err = fmt.Errorf("%q holds it, and %d operators run", holders, len(pods))
		}
		return err
	})
}

// operators waits until so many operators run, all of an image, and no others.
func (s *suite) operators(t *testing.T, n int, image string) {
	t.Helper()
	s.until(t, fmt.Sprintf("%d operators run", n), func(ctx context.Context) error {
		pods, err := s.k.Pods(ctx, system, api.LabelPart+"=operator")
		if err != nil {
			return err
		}
		if len(pods) != n {
			return fmt.Errorf("there are %d", len(pods))
		}
		for _, p := range pods {
			if p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil || p.Spec.Containers[0].Image != image {
				return fmt.Errorf("%s is %s, of %s", p.Name, p.Status.Phase, p.Spec.Containers[0].Image)
			}
		}
		return nil
	})
}

// twoOperators lets two operators work at once, without the lease that keeps one of them back.
func (s *suite) twoOperators(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	defer s.upgrade(t) // however it ends
	s.upgrade(t, "replicas=2", "operator.extraArgs={--leader-elect=false}")
	s.operators(t, 2, s.image)
	r := c.load(t)
	at := c.members(t, 3, admin.StatusOptions{})[0].Membership.Index
	r.during(planned, "grow 3 to 5 by two operators", func() { c.resize(t, 5) })
	if grown := c.joints(t, 5, at); len(grown) != 1 {
		t.Errorf("growing took the joint changes at %v: it must be one", grown)
	}
	r.during(planned, "roll by two operators", func() {
		c.patch(t, fmt.Sprintf(`{"spec":{"annotations":{"e2e.raftsman.dev/roll":"twice-%d"}}}`, at))
		c.ready(t, 5)
	})
	r.during(planned, "shrink 5 to 3 by two operators", func() { c.resize(t, 3) })
	r.steady(r.stop())
	c.oneCluster(t, 3, id)
	c.volumes(t, 3)
}

// operatorUpgraded exchanges the operator's image for another of the same version, while the members' own is named in
// the spec: no Pod of a member is touched.
func (s *suite) operatorUpgraded(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	next := s.image + "-next"
	err := s.dev.Image(t.Context(), filepath.Join(s.repo, "Dockerfile"), next, filepath.Join(s.dir, "next.tar"), "/out/raftsman="+filepath.Join(s.dir, "raftsman"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.upgrade(t) // however it ends
	pods, boots := c.uids(t), c.boots(t, 3)
	r := c.load(t)
	r.during(planned, "the members' image named", func() {
		c.patch(t, fmt.Sprintf(`{"spec":{"image":%q}}`, s.image))
		c.ready(t, 3)
	})
	r.during(planned, "operator upgraded", func() {
		s.upgrade(t, "image.tag="+s.version+"-next")
		s.operators(t, 1, next)
		s.inCharge(t)
		r.more(1000) // it has had the time to look
		c.ready(t, 3)
	})
	r.during(planned, "and back", func() {
		s.upgrade(t)
		s.operators(t, 1, s.image)
		s.inCharge(t)
		c.defaultImage(t)
		c.ready(t, 3)
	})
	r.steady(r.stop())
	c.samePods(t, pods)
	c.sameBoots(t, boots)
	c.oneCluster(t, 3, id)
}

// namespaced gives the operator one namespace, with rights nowhere else, and then all again.
func (s *suite) namespaced(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	everywhere := func() {
		s.upgrade(t)
		s.operators(t, 1, s.image)
	}
	defer s.handingOver(everywhere) // however it ends
	s.handingOver(func() {
		s.upgrade(t, "watchNamespaces={"+home+"}")
		s.operators(t, 1, s.image)
	})
	who := "--as=system:serviceaccount:" + system + ":" + release
	may := func(namespace string) string {
		text, _ := s.k.Run(t.Context(), s.k.Kubectl, "auth", "can-i", "patch", "statefulsets.apps", "-n", namespace, who) // fails with "no"
		return text
	}
	outside := s.fresh(t, "outside", "unseen", "{replicas: 3}")
	if here, there := may(home), may(outside.namespace); here != "yes" || !strings.HasPrefix(there, "no") {
		t.Errorf("the operator may change StatefulSets in %s: %s; in %s: %s", home, here, outside.namespace, there)
	}
	r := c.load(t)
	r.during(planned, "grow 3 to 5, namespaced", func() { c.resize(t, 5) })
	r.during(planned, "shrink 5 to 3, namespaced", func() { c.resize(t, 3) })
	r.steady(r.stop())
	if live := outside.get(t); len(live.Status.Conditions) > 0 {
		t.Errorf("a cluster outside of its namespaces has a status: %v", live.Status)
	}
	s.handingOver(everywhere)
	outside.ready(t, 3)
	c.ready(t, 3)
	c.oneCluster(t, 3, id)
}
