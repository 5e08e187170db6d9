package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/hack/e2e/load"
)

// badImage orders an image that nobody has: one member is lost to it and no more, and with the order taken back all
// is well again.
func (s *suite) badImage(t *testing.T) {
	c := s.demo()
	kept, pods := c.keeps(t, 3), c.uids(t)
	r := c.load(t)
	r.during(planned, "bad image, and its revert", func() {
		c.patch(t, `{"spec":{"image":"raftsman.dev/nobody-has-this:1"}}`)
		c.until(t, "a Pod waits for the image", func(ctx context.Context) error {
			all, err := c.k.Pods(ctx, home, api.LabelCluster+"="+name)
			for _, p := range all {
				for _, x := range p.Status.ContainerStatuses {
					if x.State.Waiting != nil && slices.Contains([]string{"ErrImagePull", "ImagePullBackOff"}, x.State.Waiting.Reason) {
						return nil
					}
				}
			}
			if err == nil {
				err = fmt.Errorf("none of %d does", len(all))
			}
			return err
		})
		r.more(1500)
		left := slices.DeleteFunc(c.uids(t), func(uid string) bool { return !slices.Contains(pods, uid) })
		if len(left) != 2 {
			t.Errorf("%d Pods of the good image are left, two were to be", len(left))
		}
		c.defaultImage(t)
		c.ready(t, 3)
	})
	r.steady(r.stop())
	kept()
}

// paused orders a larger size while nothing may be touched.
func (s *suite) paused(t *testing.T) {
	c := s.demo()
	id := c.ready(t, 3).Status.ClusterID
	pods := c.uids(t)
	r := c.load(t)
	r.during(planned, "growth ordered while paused", func() {
		c.patch(t, `{"spec":{"paused":true,"replicas":5}}`)
		c.reaches(t, "paused", func(live *api.RaftCluster) error {
			if is := condition(live, api.ConditionReady); is.Reason != api.ReasonPaused || is.ObservedGeneration != live.Generation {
				return fmt.Errorf("Ready is %s because of %q", is.Status, is.Reason)
			}
			return nil
		})
		r.more(1000)
		if now := c.uids(t); !slices.Equal(now, pods) {
			t.Errorf("while paused the Pods became %v, they were %v", now, pods)
		}
	})
	r.during(planned, "unpaused: 3 to 5", func() {
		c.patch(t, `{"spec":{"paused":false}}`)
		c.ready(t, 5)
	})
	r.during(planned, "and 5 to 3", func() { c.resize(t, 3) })
	r.steady(r.stop())
	c.oneCluster(t, 3, id)
}

// put writes a key in the ordinary way.
func (c cluster) put(t *testing.T, key, value string) {
	t.Helper()
	c.client(t)
	if a := c.one(t, load.One{Endpoints: []string{c.service()}, Key: key, Value: value}); a.Error != "" {
		t.Fatal(a.Error)
	}
}

// read is what a key holds.
func (c cluster) read(t *testing.T, key string) string {
	t.Helper()
	a := c.one(t, load.One{Endpoints: []string{c.service()}, Key: key})
	if a.Error != "" {
		t.Fatal(a.Error)
	}
	return a.Value
}

// goes deletes the RaftCluster and waits until its Pods are gone, and its volumes where they are to go.
func (c cluster) goes(t *testing.T, volumes int) {
	t.Helper()
	c.kubectl(t, "delete", "raftcluster", "-n", c.namespace, c.name, "--timeout=60s")
	c.gone(t, "the Pods of a deleted cluster are gone", c.namespace, "")
	c.volumes(t, volumes)
}

// anewKept deletes a cluster that keeps its volumes and makes it anew under the same name: it is the same cluster.
func (s *suite) anewKept(t *testing.T) {
	const spec = "{replicas: 3}"
	c := s.fresh(t, "anew-kept", "phoenix", spec)
	id := c.ready(t, 3).Status.ClusterID
	before := c.ids(t, 3)
	c.put(t, "from/before", "v")
	c.goes(t, 3)
	s.apply(t, fmt.Sprintf(fresh, c.namespace, c.name, spec))
	c.ready(t, 3)
	c.oneCluster(t, 3, id)
	c.same(t, before)
	if got := c.read(t, "from/before"); got != "v" {
		t.Errorf("what was written before reads %q", got)
	}
	c.resize(t, 5) // and it has a life before it
	c.oneCluster(t, 5, id)
}

// anewEmpty deletes a cluster with its volumes and makes it anew: it is another one, and empty.
func (s *suite) anewEmpty(t *testing.T) {
	const spec = "{replicas: 3, storage: {retention: {whenDeleted: Delete}}}"
	c := s.fresh(t, "anew-empty", "lamb", spec)
	id := c.ready(t, 3).Status.ClusterID
	c.put(t, "from/before", "v")
	c.goes(t, 0)
	s.apply(t, fmt.Sprintf(fresh, c.namespace, c.name, spec))
	now := c.ready(t, 3).Status.ClusterID
	if now == id {
		t.Errorf("it is cluster %s again", id)
	}
	c.oneCluster(t, 3, now)
	if got := c.read(t, "from/before"); got != "" {
		t.Errorf("what the other cluster held reads %q", got)
	}
}
