package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/hack/e2e/kube"
)

// previous is the commit that was the release before this one, 0.1.0: what people upgrade from. Every release sets it
// anew.
const previous = "391cbd6cc72bca8c92fe760e2ef40ea4961926ef"

// unpack writes the source of a commit of a repository into a directory, which it empties first.
func unpack(ctx context.Context, repo, commit, dir string) error {
	git := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", repo}, args...)...)
		return cmd.CombinedOutput()
	}
	if text, err := git("cat-file", "-e", commit+"^{commit}"); err != nil {
		return fmt.Errorf("the release before this one is built from commit %s, which this clone does not have (%w: %s): "+
			"fetch the history first, with `git fetch --unshallow` or `git fetch origin %s`", commit, err, strings.TrimSpace(string(text)), commit)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	archive := dir + ".tar"
	if text, err := git("archive", "--format=tar", "--output="+archive, commit); err != nil {
		return fmt.Errorf("git archive of %s: %w: %s", commit, err, text)
	}
	if text, err := exec.CommandContext(ctx, "tar", "-xf", archive, "-C", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", archive, err, text)
	}
	return os.Remove(archive)
}

// edition is a release: its version, its image, and where its chart lies.
type edition struct{ version, image, chart string }

// former builds the release before this one from its own source, chart and Dockerfile, and loads its image.
func (s *suite) former(t *testing.T) edition {
	t.Helper()
	dir := filepath.Join(s.dir, "previous")
	if err := unpack(t.Context(), s.repo, previous, dir); err != nil {
		t.Fatal(err)
	}
	e := edition{version: appVersion(t, dir), chart: filepath.Join(dir, "charts/raftsman")}
	e.image = imageOf(e.version)
	if e.version == s.version {
		t.Fatalf("the release before this one is %s too: charts/raftsman/Chart.yaml has to go on", e.version)
	}
	s.say("  building %s", e.image)
	if err := s.product(t.Context(), dir, "raftsman-previous", e.version); err != nil {
		t.Fatal(err)
	}
	return e
}

// backdate installs the release before this one in this one's place, until the scenario ends. The sample is paused
// meanwhile, so that no operator rolls it to another version.
func (s *suite) backdate(t *testing.T) edition {
	t.Helper()
	e, c := s.former(t), s.demo()
	c.ready(t, 3)
	c.patch(t, `{"spec":{"paused":true}}`)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := s.k.Run(ctx, s.k.Helm, s.release("upgrade", s.chart(), "--install")...)
		if err == nil {
			_, err = s.k.Run(ctx, s.k.Kubectl, "patch", "raftcluster", "-n", c.namespace, c.name, "--type=merge", "-p", `{"spec":{"paused":false}}`)
		}
		if err != nil {
			t.Error(err)
		}
	})
	s.uninstall(t)
	s.say("  helm install %s", e.version)
	if _, err := s.k.Run(t.Context(), s.k.Helm, s.release("install", e.chart)...); err != nil {
		t.Fatal(err)
	}
	s.operators(t, 1, e.image)
	return e
}

// chartUpgraded goes from the release before this one to this one by helm upgrade, under load, with a cluster whose
// image is named: none of its Pods notices. Then the cluster itself is upgraded, through a time of two versions, and
// asked to go back, which is refused.
func (s *suite) chartUpgraded(t *testing.T) {
	old := s.backdate(t)
	c := s.fresh(t, "settled", "named", fmt.Sprintf("{replicas: 3, image: %q}", old.image))
	id := c.ready(t, 3).Status.ClusterID
	c.speaks(t, 3, old.version)
	before, pods, boots := c.ids(t, 3), c.uids(t), c.boots(t, 3)
	r := c.load(t)
	r.during(planned, fmt.Sprintf("helm upgrade %s to %s, image named", old.version, s.version), func() {
		s.upgrade(t)
		s.operators(t, 1, s.image)
		s.inCharge(t)
		r.more(1000) // it has had the time to look
		c.ready(t, 3)
	})
	c.samePods(t, pods)
	c.sameBoots(t, boots) // nor has a container been restarted in its Pod
	c.speaks(t, 3, old.version)
	from := len(c.seen.Of(c.namespace, c.name, 0))
	r.during(planned, fmt.Sprintf("members rolled from %s to %s", old.version, s.version), func() {
		c.patch(t, fmt.Sprintf(`{"spec":{"image":%q}}`, s.image))
		c.ready(t, 3)
	})
	c.speaks(t, 3, s.version)
	c.mixed(t, from, old.version, s.version)
	pods = c.uids(t)
	r.during(planned, "back to "+old.version+", refused", func() {
		c.patch(t, fmt.Sprintf(`{"spec":{"image":%q}}`, old.image))
		c.stalled(t, api.ReasonUnsupportedUpgradePath, old.version+" is refused")
		r.more(1000)
		c.patch(t, fmt.Sprintf(`{"spec":{"image":%q}}`, s.image))
		c.ready(t, 3)
	})
	r.steady(r.stop())
	c.samePods(t, pods)
	c.oneCluster(t, 3, id)
	c.same(t, before)
}

// followersUpgraded goes from the release before this one to this one with a cluster that leaves the image to the
// operator: its members follow, as any roll goes.
func (s *suite) followersUpgraded(t *testing.T) {
	old := s.backdate(t)
	c := s.fresh(t, "following", "unnamed", "{replicas: 3}")
	id := c.ready(t, 3).Status.ClusterID
	c.speaks(t, 3, old.version)
	before, from := c.ids(t, 3), len(c.seen.Of(c.namespace, c.name, 0))
	r := c.load(t)
	r.during(planned, fmt.Sprintf("helm upgrade %s to %s, members follow", old.version, s.version), func() {
		s.upgrade(t)
		s.operators(t, 1, s.image)
		c.reaches(t, "all members have followed", func(live *api.RaftCluster) error {
			if live.Status.Version != s.version || live.Status.UpdatedReplicas != 3 {
				return fmt.Errorf("version %s, %d updated", live.Status.Version, live.Status.UpdatedReplicas)
			}
			return nil
		})
		c.ready(t, 3)
	})
	r.steady(r.stop())
	c.speaks(t, 3, s.version)
	c.mixed(t, from, old.version, s.version)
	c.oneCluster(t, 3, id)
	c.same(t, before)
}

// speaks demands that status and every member are of a version.
func (c cluster) speaks(t *testing.T, n int, version string) {
	t.Helper()
	status := c.get(t).Status
	if status.Version != version || len(status.Members) != n {
		t.Errorf("status tells of version %q and %d members: it should be %s and %d", status.Version, len(status.Members), version, n)
	}
	for _, m := range status.Members {
		if m.Version != version {
			t.Errorf("%s is of version %s, not of %s", m.Name, m.Version, version)
		}
	}
}

// mixed demands that status has told, since the from-th of them, of members of two versions at once, and of no time in
// which fewer than all but one were ready.
func (c cluster) mixed(t *testing.T, from int, versions ...string) {
	t.Helper()
	both := false
	for _, live := range c.seen.Of(c.namespace, c.name, from) {
		var told []string
		for _, m := range live.Status.Members {
			if m.Version != "" {
				told = append(told, m.Version)
			}
		}
		slices.Sort(told)
		both = both || slices.Equal(slices.Compact(told), versions)
		if n := live.Status.ReadyReplicas; n < live.Status.Replicas-1 {
			t.Errorf("only %d of %d members were ready: %s", n, live.Status.Replicas, kube.Brief(live))
		}
	}
	if !both {
		t.Errorf("status never told of members of %v at once", versions)
	}
}

// stalled waits until the cluster is Stalled for a reason, with words that say why.
func (c cluster) stalled(t *testing.T, reason, says string) *api.RaftCluster {
	t.Helper()
	return c.reaches(t, "Stalled by "+reason, func(live *api.RaftCluster) error {
		is := condition(live, api.ConditionStalled)
		if is.Status != "True" || is.Reason != reason || is.ObservedGeneration != live.Generation || !strings.Contains(is.Message, says) {
			return fmt.Errorf("Stalled is %q, %s for generation %d: %s", is.Status, is.Reason, is.ObservedGeneration, is.Message)
		}
		return nil
	})
}

// TestUnpackWithoutHistory needs no cluster: a clone that lacks the commit is told how to get it.
func TestUnpackWithoutHistory(t *testing.T) {
	dir := t.TempDir()
	if text, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	err := unpack(t.Context(), dir, previous, filepath.Join(dir, "out"))
	if err == nil || !strings.Contains(err.Error(), "git fetch --unshallow") {
		t.Errorf("without the commit: %v", err)
	}
}
