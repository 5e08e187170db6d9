package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/hack/e2e/kube"
	"raftsman.dev/node/admin"
)

const (
	home       = "default"         // the namespace of the sample
	name       = "demo"            // the sample
	system     = "raftsman-system" // the operator's namespace
	elsewhere  = "elsewhere"       // the clients' namespace
	release    = "raftsman"
	clientTag  = "raftsman.dev/e2e-client:1"
	patience   = 4 * time.Minute // for anything that the operator does; machines that run tests are busy
	clientPort = 2379
	orderPort  = 8080
)

// suite is what all scenarios share: one dev cluster and the record of what was seen on it.
type suite struct {
	repo, dir string
	version   string
	image     string // of the operator and of the members
	dev       kube.Dev
	k         *kube.Cluster
	seen      *kube.Sightings
	out       io.Writer
	runs      int
	scene     string // the scenario that is on
	rows      []row  // of it
	records   []record
	handovers []handover
	build     string // of the product
}

// begin builds everything and brings the dev cluster up.
func begin(t *testing.T) *suite {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need Linux and root, for namespaces and control groups: run `sudo make e2e`")
	}
	ctx := t.Context()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cluster := os.Getenv("RAFTSMAN_E2E_CLUSTER")
	if cluster == "" {
		cluster = "e2e"
	}
	s := &suite{repo: repo, dir: filepath.Join(cache, "raftsman", "e2e", cluster), out: os.Stderr, seen: kube.NewSightings()}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.version = appVersion(t, repo)
	s.image = imageOf(s.version)
	s.say("building the programs and starting cluster %s", cluster)
	if s.dev, err = kube.BuildDev(ctx, repo, s.dir, cluster, s.out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.end(t) })
	if !keep() { // what a run that was broken off has left is not what this one begins with
		if _, err := s.dev.Run(ctx, "down"); err != nil {
			t.Fatal(err)
		}
	}
	flags, err := s.audited()
	if err != nil {
		t.Fatal(err)
	}
	if store := os.Getenv("RAFTSMAN_E2E_STORE"); store != "" {
		flags = append(flags, "--store", store)
	}
	if _, err := s.dev.Run(ctx, append([]string{"up", "--nodes", "3"}, flags...)...); err != nil {
		t.Fatal(err)
	}
	if err := s.connect(ctx); err != nil {
		t.Fatal(err)
	}
	s.restrict(t, home, system)
	if err := s.images(ctx); err != nil {
		t.Fatal(err)
	}
	watching, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		s.seen.Watch(watching, s.k.API)
		close(done)
	}()
	t.Cleanup(func() { stop(); <-done })
	s.haunt(t)
	return s
}

// haunt kills the leader of the API server's store every RAFTSMAN_E2E_KILL until the tests end, if that is set.
func (s *suite) haunt(t *testing.T) {
	t.Helper()
	text := os.Getenv("RAFTSMAN_E2E_KILL")
	if text == "" {
		return
	}
	every, err := time.ParseDuration(text)
	if err != nil || every < 10*time.Second || os.Getenv("RAFTSMAN_E2E_STORE") != "raftsman" {
		t.Fatalf("RAFTSMAN_E2E_KILL is %q: it must be a duration of at least 10s, and RAFTSMAN_E2E_STORE be raftsman", text)
	}
	killer := kube.KillStoreLeaders(s.dev, every)
	t.Cleanup(func() {
		if err := killer.Stop(); err != nil {
			t.Error(err)
		}
		n := len(killer.Killed())
		s.say("the leader of the API server's store was killed %d times", n)
		if n < 2 {
			t.Errorf("the leader of the API server's store was killed only %d times: this shows nothing", n)
		}
	})
}

// keep says that somebody wants to look at the cluster afterwards, and to run again on it.
func keep() bool { return os.Getenv("RAFTSMAN_E2E_KEEP") != "" }

// end takes the dev cluster down.
func (s *suite) end(t *testing.T) {
	if keep() {
		s.say("RAFTSMAN_E2E_KEEP is set: %s --name %s down removes the cluster", s.dev.Bin, s.dev.Name)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, err := s.dev.Run(ctx, "down"); err != nil {
		t.Error(err)
	}
}

// say prints a line of progress.
func (s *suite) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%s e2e: %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// appVersion is the version that the chart installs.
func appVersion(t *testing.T, repo string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repo, "charts/raftsman/Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^appVersion: *"?([^"\s]+)"?$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("charts/raftsman/Chart.yaml names no appVersion")
	}
	return string(m[1])
}

func (s *suite) connect(ctx context.Context) error {
	kubeconfig, err := s.dev.Run(ctx, "kubeconfig")
	if err != nil {
		return err
	}
	if s.k, err = kube.Open(kubeconfig, s.out); err != nil {
		return err
	}
	if s.k.Kubectl, err = s.dev.Run(ctx, "tool", "kubectl"); err != nil {
		return err
	}
	s.k.Helm, err = s.dev.Run(ctx, "tool", "helm")
	return err
}

// images builds the product's image and the clients' one, and loads both on every node.
func (s *suite) images(ctx context.Context) error {
	client := filepath.Join(s.dir, "e2e-client")
	etcdctl, err := s.dev.Run(ctx, "tool", "etcdctl")
	if err != nil {
		return err
	}
	return errors.Join(
		s.product(ctx, s.repo, "raftsman", s.version),
		kube.Build(ctx, filepath.Join(s.repo, "hack/e2e"), "./cmd/e2e-client", client),
		s.dev.Image(ctx, filepath.Join(s.repo, "hack/e2e/Dockerfile"), clientTag, filepath.Join(s.dir, "client.tar"), "/out/e2e-client="+client, "/out/etcdctl="+etcdctl),
	)
}

// imageOf is the name of the product's image of a version.
func imageOf(version string) string { return "raftsman.dev/raftsman:" + version }

// product builds the product of a version from its source, and its image by its own Dockerfile, and loads that on every
// node. The program and the image's archive lie under a name in the suite's directory.
func (s *suite) product(ctx context.Context, source, name, version string) error {
	binary := filepath.Join(s.dir, name)
	if err := kube.Build(ctx, source, "./cmd/raftsman", binary, "-X main.version="+version); err != nil {
		return err
	}
	return s.dev.Image(ctx, filepath.Join(source, "Dockerfile"), imageOf(version), binary+".tar", "/out/raftsman="+binary)
}

// kubectl runs kubectl and fails the test where it fails.
func (s *suite) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	text, err := s.k.Run(t.Context(), s.k.Kubectl, args...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// apply is kubectl apply of a text.
func (s *suite) apply(t *testing.T, yaml string, args ...string) {
	t.Helper()
	if _, err := s.k.RunWith(t.Context(), yaml, s.k.Kubectl, append([]string{"apply", "-f", "-"}, args...)...); err != nil {
		t.Fatal(err)
	}
}

// until waits for something that the API server does not announce.
func (s *suite) until(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	if err := kube.Until(t.Context(), patience, s.out, what, check); err != nil {
		t.Fatal(err)
	}
}

// cluster is one RaftCluster.
type cluster struct {
	*suite
	namespace, name string
}

func (s *suite) demo() cluster { return cluster{s, home, name} }

func (c cluster) pod(ordinal int) kube.Pod {
	return kube.Pod{Namespace: c.namespace, Name: fmt.Sprintf("%s-%d", c.name, ordinal)}
}

func (c cluster) named(pod string) kube.Pod { return kube.Pod{Namespace: c.namespace, Name: pod} }

// get is the RaftCluster as it is now.
func (c cluster) get(t *testing.T) *api.RaftCluster {
	t.Helper()
	live := &api.RaftCluster{}
	if err := c.k.API.Get(t.Context(), types.NamespacedName{Namespace: c.namespace, Name: c.name}, live); err != nil {
		t.Fatal(err)
	}
	return live
}

// reaches waits, with a watch, until the RaftCluster is as it should be; check says what is missing.
func (c cluster) reaches(t *testing.T, what string, check func(*api.RaftCluster) error) *api.RaftCluster {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	progress := time.NewTicker(15 * time.Second)
	defer progress.Stop()
	began := time.Now()
	for {
		changed := c.seen.Changed()
		live := c.get(t)
		err := check(live)
		if err == nil {
			return live
		}
		select {
		case <-changed:
		case <-progress.C:
			c.say("  waiting for %ds: %s (%v): %s", int(time.Since(began).Seconds()), what, err, kube.Brief(live))
		case <-limit.C:
			t.Fatalf("%s/%s: %s: not so after %v: %v\n%s", c.namespace, c.name, what, patience, err, kube.Brief(live))
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// ready waits until the cluster is Ready with so many voters, and nothing else, and until that is true: status may
// be older than what has just been done to the cluster, above all while no operator runs.
func (c cluster) ready(t *testing.T, voters int32) *api.RaftCluster {
	t.Helper()
	what := fmt.Sprintf("Ready with %d voters", voters)
	is := func(live *api.RaftCluster) error {
		s := live.Status
		switch is := condition(live, api.ConditionReady); {
		case is.Status != "True" || is.ObservedGeneration != live.Generation:
			return fmt.Errorf("Ready is %q for generation %d", is.Status, is.ObservedGeneration)
		case s.VotingMembers != voters || s.Replicas != voters || s.ReadyReplicas != voters || s.Learners != 0:
			return errors.New("the numbers are not right")
		}
		return nil
	}
	c.reaches(t, what, is)
	c.until(t, fmt.Sprintf("%d members serve", voters), func(ctx context.Context) error { return c.serve(ctx, int(voters)) })
	return c.reaches(t, what, is)
}

// serve says what is missing until exactly so many Pods run, are ready, and have a quorum.
func (c cluster) serve(ctx context.Context, n int) error {
	pods, err := c.k.Pods(ctx, c.namespace, api.LabelCluster+"="+c.name)
	if err != nil {
		return err
	}
	for _, p := range pods {
		is := slices.ContainsFunc(p.Status.Conditions, func(x corev1.PodCondition) bool { return x.Type == corev1.PodReady && x.Status == corev1.ConditionTrue })
		if !is || p.DeletionTimestamp != nil {
			return fmt.Errorf("%s is not ready", p.Name)
		}
		m, err := c.k.Member(ctx, c.named(p.Name), admin.StatusOptions{Quorum: true})
		switch {
		case err != nil:
			return err
		case m.State != admin.StateJoined || !m.Quorate || !m.Ready:
			return fmt.Errorf("%s is %s, ready %v, with a quorum %v", m.Name, m.State, m.Ready, m.Quorate)
		}
	}
	if len(pods) != n {
		return fmt.Errorf("there are %d Pods", len(pods))
	}
	return nil
}

// members asks so many members how they are, those with the lowest ordinals.
func (c cluster) members(t *testing.T, n int, options admin.StatusOptions) []admin.Status {
	t.Helper()
	var all []admin.Status
	for i := range n {
		c.until(t, fmt.Sprintf("%s-%d answers", c.name, i), func(ctx context.Context) error {
			status, err := c.k.Member(ctx, c.pod(i), options)
			if err == nil {
				all = append(all, status)
			}
			return err
		})
	}
	return all
}

// oneCluster demands that all members are of one cluster, the one that status remembers.
func (c cluster) oneCluster(t *testing.T, n int, id string) {
	t.Helper()
	if got := c.get(t).Status.ClusterID; got != id {
		t.Errorf("status speaks of cluster %s, it was %s", got, id)
	}
	for _, m := range c.members(t, n, admin.StatusOptions{}) {
		if m.ClusterID != id {
			t.Errorf("%s is of cluster %s, not of %s", m.Name, m.ClusterID, id)
		}
	}
}

// keeps waits until the cluster is Ready with so many voters, and returns what demands, once all is over, that it is the
// same cluster of the same members.
func (c cluster) keeps(t *testing.T, n int) (kept func()) {
	t.Helper()
	id := c.ready(t, int32(n)).Status.ClusterID
	before := c.ids(t, n)
	return func() {
		t.Helper()
		c.oneCluster(t, n, id)
		c.same(t, before)
	}
}

// gone waits until no Pod is left that a selector finds.
func (s *suite) gone(t *testing.T, what, namespace, selector string) {
	t.Helper()
	s.until(t, what, func(ctx context.Context) error {
		pods, err := s.k.Pods(ctx, namespace, selector)
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d are left", len(pods))
		}
		return err
	})
}

// undo is what takes a fault back, once; that it fails is an error of the test.
func undo(t *testing.T, back func() error) func() {
	return sync.OnceFunc(func() {
		if err := back(); err != nil {
			t.Error(err)
		}
	})
}

// service is the URL of the client Service.
func (c cluster) service() string {
	return fmt.Sprintf("http://%s.%s.svc:%d", c.name, c.namespace, clientPort)
}

// own is the URL of one member's own address.
func (c cluster) own(ordinal int) string {
	return fmt.Sprintf("http://%s-%d.%s-peer.%s.svc:%d", c.name, ordinal, c.name, c.namespace, clientPort)
}

// lines joins what is printed in several lines.
func lines(all []string) string { return strings.Join(all, "\n  ") }
