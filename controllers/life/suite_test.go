package life

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	api "raftsman.dev/api/v1alpha1"
)

var seed = flag.Uint64("seed", 0, "seed of the simulated machines; 0 draws one")

// patience bounds every wait for the operator: it is generous, because machines that run tests are busy.
const patience = 3 * time.Minute

// suite is what all tests share: one control plane, one world of machines, and what was seen of the operator.
type suite struct {
	plane *plane
	api   client.WithWatch
	world *world
	used  usage
	seen  sightings
	seed  uint64
}

// shared is made by TestMain and read by the tests.
var shared = struct{ *suite }{}

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait far more than they work: more of them at once than there are cores.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	logf.SetLogger(logr.Discard())
	code := 1
	if err := withSuite(func() { code = m.Run() }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withSuite(run func()) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &suite{seed: *seed}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	fmt.Fprintf(os.Stderr, "seed=%d\n", s.seed)
	if s.plane, err = start(ctx); err != nil {
		return fmt.Errorf("start a control plane: %w", err)
	}
	defer func() { err = errors.Join(err, s.plane.stop()) }()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), api.AddToScheme(scheme)); err != nil {
		return err
	}
	if s.api, err = client.NewWithWatch(s.plane.admin, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := s.install(ctx); err != nil {
		return err
	}
	if err := s.plane.startControllers(ctx); err != nil {
		return err
	}
	objects, err := cache.New(s.plane.admin, cache.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	s.world = newWorld(s.api, objects, s.seed)
	var live sync.WaitGroup
	live.Go(func() { _ = objects.Start(ctx) })
	live.Go(func() { s.world.run(ctx) })
	live.Go(func() { s.seen.watch(ctx, s.api) })
	shared.suite = s
	run()
	incomplete := s.complete(ctx)
	cancel()
	live.Wait()
	if len(s.world.broken) > 0 {
		return fmt.Errorf("seed=%d: %s", s.seed, strings.Join(s.world.broken, "; "))
	}
	return incomplete
}

// install applies the operator's own files: the definition, its role and binding. The namespaces of tests are
// held to the restricted Pod Security Standard.
func (s *suite) install(ctx context.Context) error {
	if err := s.makeNamespace(ctx, "raftsman-system"); err != nil {
		return err
	}
	if err := s.makeClasses(ctx); err != nil {
		return err
	}
	files := []string{"crd/bases/raftsman.dev_raftclusters.yaml", "rbac/service_account.yaml", "rbac/role.yaml", "rbac/role_binding.yaml"}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("../../config", file))
		if err != nil {
			return err
		}
		for _, doc := range strings.Split(string(text), "\n---\n") {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(strings.TrimPrefix(doc, "---\n")), o); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if err := s.api.Create(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return wait(ctx, patience, "the API server serves RaftClusters", func() error {
		return s.api.List(ctx, &api.RaftClusterList{})
	})
}

func (s *suite) makeNamespace(ctx context.Context, name string) error {
	return s.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}})
}

// rules are the rules of the operator's roles.
func (s *suite) rules(ctx context.Context) ([]rbacv1.PolicyRule, error) {
	all, one := &rbacv1.ClusterRole{}, &rbacv1.Role{}
	err := errors.Join(
		s.api.Get(ctx, types.NamespacedName{Name: "raftsman-operator"}, all),
		s.api.Get(ctx, types.NamespacedName{Namespace: "raftsman-system", Name: "raftsman-operator"}, one))
	return append(all.Rules, one.Rules...), err
}

// wait asks again and again until an error is gone.
func wait(ctx context.Context, limit time.Duration, what string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not so after %s: %w", what, limit, err)
		case <-tick.C:
		}
	}
}

// sightings are the words of the vocabulary that the API server has been told, and each RaftCluster's statuses in
// the order in which they were written.
type sightings struct {
	mu       sync.Mutex
	words    map[string]bool
	statuses map[string][]api.RaftCluster
}

// watch records until the context ends. A watch that breaks off is taken up again from a fresh list.
func (s *sightings) watch(ctx context.Context, c client.WithWatch) {
	s.mu.Lock()
	s.words, s.statuses = map[string]bool{}, map[string][]api.RaftCluster{}
	s.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { follow(ctx, c, func() client.ObjectList { return &api.RaftClusterList{} }, s.cluster) })
	both.Go(func() { follow(ctx, c, func() client.ObjectList { return &corev1.EventList{} }, s.event) })
	both.Wait()
}

func follow(ctx context.Context, c client.WithWatch, list func() client.ObjectList, see func(runtime.Object)) {
	for ctx.Err() == nil {
		w, err := c.Watch(ctx, list())
		if err != nil {
			continue
		}
		for e := range w.ResultChan() {
			if e.Type == watch.Added || e.Type == watch.Modified {
				see(e.Object)
			}
		}
	}
}

func (s *sightings) cluster(o runtime.Object) {
	c, ok := o.(*api.RaftCluster)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := c.Namespace + "/" + c.Name
	s.statuses[key] = append(s.statuses[key], *c.DeepCopy())
	for _, cond := range c.Status.Conditions {
		s.words[cond.Reason] = true
		if cond.Status == metav1.ConditionTrue {
			s.words[cond.Type] = true
		}
	}
	if c.Status.Operation != nil {
		s.words[string(c.Status.Operation.Type)] = true
	}
}

func (s *sightings) event(o runtime.Object) {
	e, ok := o.(*corev1.Event)
	if !ok || e.InvolvedObject.Kind != api.Kind {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.words["event "+e.Reason] = true
}

// of are the statuses of one RaftCluster so far.
func (s *sightings) of(c *cluster) []api.RaftCluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statuses[c.namespace+"/"+c.name]
}

// cluster is one RaftCluster under test, in a namespace of its own.
type cluster struct {
	suite           *suite
	namespace, name string
	journal         *journal
}

// newCluster makes a namespace, and in it the RaftCluster that the spec asks for; none if there is no spec.
func newCluster(t *testing.T, spec string) *cluster {
	t.Helper()
	t.Parallel()
	s := shared.suite
	c := &cluster{suite: s, name: "demo", journal: &journal{}}
	c.namespace = strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(strings.TrimPrefix(t.Name(), "Test")))
	c.namespace = c.namespace[:min(len(c.namespace), 60)]
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed=%d\n%s\n%s", s.seed, c.journal.tail(150), brief(c.get(t)))
		}
		c.vanish(t)
	})
	if err := s.makeNamespace(t.Context(), c.namespace); err != nil {
		t.Fatal(err)
	}
	if spec != "" {
		if err := c.apply(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// vanish takes the test's Pods away, so that nothing of it runs beside later tests.
func (c *cluster) vanish(t *testing.T) {
	ctx := context.Background()
	if err := c.suite.api.DeleteAllOf(ctx, &api.RaftCluster{}, client.InNamespace(c.namespace)); err != nil {
		t.Error(err)
	}
}

// apply is kubectl apply of a RaftCluster with this spec.
func (c *cluster) apply(ctx context.Context, spec string) error {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": api.GroupVersion().String(), "kind": api.Kind}}
	o.SetNamespace(c.namespace)
	o.SetName(c.name)
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
		return err
	}
	o.Object["spec"] = fields
	return c.suite.api.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("tests"), client.ForceOwnership)
}

// get is the RaftCluster as it is now.
func (c *cluster) get(t *testing.T) *api.RaftCluster {
	t.Helper()
	live := &api.RaftCluster{}
	if err := c.suite.api.Get(context.Background(), types.NamespacedName{Namespace: c.namespace, Name: c.name}, live); err != nil {
		t.Logf("read the RaftCluster: %v", err)
	}
	return live
}

// reaches waits until the RaftCluster is as it should be.
func (c *cluster) reaches(t *testing.T, what string, is func(*api.RaftCluster) bool) *api.RaftCluster {
	t.Helper()
	live := &api.RaftCluster{}
	err := wait(t.Context(), patience, what, func() error {
		live = c.get(t)
		if is(live) {
			return nil
		}
		return fmt.Errorf("it is %s", brief(live))
	})
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// ready waits for the condition that `kubectl wait --for=condition=Ready` waits for, of the present spec.
func (c *cluster) ready(t *testing.T) *api.RaftCluster {
	t.Helper()
	return c.reaches(t, "Ready", func(r *api.RaftCluster) bool {
		return condition(r, api.ConditionReady).Status == metav1.ConditionTrue && condition(r, api.ConditionReady).ObservedGeneration == r.Generation
	})
}

// condition is the condition of a type; an empty one when it is absent.
func condition(c *api.RaftCluster, kind string) metav1.Condition {
	for _, cond := range c.Status.Conditions {
		if cond.Type == kind {
			return cond
		}
	}
	return metav1.Condition{}
}

// kubectl runs the real one against the tests' API server.
func (c *cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	path, err := program(t.Context(), "kubectl")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"--kubeconfig=" + c.suite.plane.kubeconfig, "--namespace=" + c.namespace}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// bare is a configuration for requests that need no codec of their own.
func bare(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.NegotiatedSerializer = clientscheme.Codecs.WithoutConversion()
	return c
}
