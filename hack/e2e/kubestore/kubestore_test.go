package kubestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	machinery "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"raftsman.dev/hack/e2e/kube"
)

// askedFor is the environment variable that asks for the test: it takes minutes, root, and a machine for itself.
const askedFor = "RAFTSMAN_KUBESTORE"

const (
	namespace = "kubestore"
	patience  = time.Minute // for whatever is to come about
	// compactEvery is how often the API server compacts: often enough to be seen. What is older is lost to watches and
	// to pages, as with any etcd.
	compactEvery = 20 * time.Second
)

// flags say how much is done.
type flags struct {
	objects *int
	lasts   *time.Duration
	every   *time.Duration
	cluster *string
}

var asked = flags{
	objects: flag.Int("kubestore.objects", 10_000, "how many ConfigMaps a round makes; a tenth as many Secrets"),
	lasts:   flag.Duration("kubestore.for", 0, "rounds are begun for so long; at least one"),
	every:   flag.Duration("kubestore.every", 30*time.Second, "how often the store's leader is killed"),
	cluster: flag.String("kubestore.cluster", "kubestore", "the dev cluster's name"),
}

// stage is a Kubernetes on Raftsman with what is observed on it.
type stage struct {
	dev     kube.Dev
	api     client.WithWatch
	web     *http.Client
	url     string
	etcdctl string
	out     io.Writer

	informers       []*informer
	cached, direct  kind
	consistent, raw int // lists that were answered, of the cached kind and of the direct one
}

func resource(k kind) schema.GroupResource { return schema.GroupResource{Resource: k.name} }

// say tells what is going on, also while everything is well.
func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%s kubestore: %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// TestKubeStore runs rounds of load on an API server whose store loses its leader again and again.
func TestKubeStore(t *testing.T) {
	if os.Getenv(askedFor) == "" {
		t.Skipf("NOT RUN: whether an API server works on Raftsman. It needs root, Linux and minutes: `make kubestore` runs it")
	}
	s := begin(t)
	s.ready(t)
	watching, stop := context.WithCancel(context.Background())
	var watchers sync.WaitGroup
	for _, i := range s.informers {
		watchers.Go(func() { i.run(watching) })
	}
	t.Cleanup(func() { stop(); watchers.Wait() })
	began := time.Now()
	c := kube.KillStoreLeaders(s.dev, *asked.every)
	t.Cleanup(func() { _ = c.Stop() }) // a test that has come to its end has looked at the error
	var totals figures
	for round := 0; round == 0 || time.Since(began) < *asked.lasts; round++ {
		s.round(t, round, c, &totals)
		if t.Failed() {
			break
		}
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	s.leases(t)
	s.compacted(t)
	s.claims(t)
	s.ready(t)
	s.equal(t)
	s.say("in %v the leader was killed %d times; longest time without an acknowledgement: %v", time.Since(began).Round(time.Second), len(c.Killed()), totals.gap.Round(time.Millisecond))
	if n := len(c.Killed()); n < 2 {
		t.Errorf("the leader was killed only %d times: this shows nothing", n)
	}
}

// begin builds the dev cluster's command, and brings a cluster of one node up.
func begin(t *testing.T) *stage {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Fatal("this needs Linux and root: run `sudo make kubestore`")
	}
	ctx := t.Context()
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{out: os.Stderr}
	s.cached, s.direct = kinds()
	if s.dev, err = kube.BuildDev(ctx, repo, t.TempDir(), *asked.cluster, s.out); err != nil {
		t.Fatal(err)
	}
	down := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if _, err := s.dev.Run(ctx, "down"); err != nil {
			t.Error(err)
		}
	}
	down()
	t.Cleanup(down)
	if _, err := s.dev.Run(ctx, "up", "--nodes", "1", "--store", "raftsman",
		"--api-server-flag=--etcd-compaction-interval="+compactEvery.String(),
		"--api-server-flag=--watch-cache-sizes="+s.direct.name+"#0"); err != nil {
		t.Fatal(err)
	}
	if err := s.connect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	for _, k := range []kind{s.cached, s.direct} {
		s.informers = append(s.informers, &informer{api: s.api, kind: k, ledger: newLedger()})
	}
	return s
}

// connect makes a client that does not hold itself back.
func (s *stage) connect(ctx context.Context) error {
	kubeconfig, err := s.dev.Run(ctx, "kubeconfig")
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	log.SetLogger(logr.Discard()) // the client library would complain of having none
	scheme := machinery.NewScheme()
	if err := clientscheme.AddToScheme(scheme); err != nil {
		return err
	}
	s.url = config.Host
	if s.web, err = rest.HTTPClientFor(config); err != nil {
		return err
	}
	if s.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme, HTTPClient: s.web}); err != nil {
		return err
	}
	s.etcdctl, err = s.dev.Run(ctx, "tool", "etcdctl")
	return err
}

// ready demands that the API server says it is ready, its store included.
func (s *stage) ready(t *testing.T) {
	t.Helper()
	s.until(t, "the API server is ready", func(ctx context.Context) error {
		text, err := get(ctx, s.web, s.url+"/readyz?verbose")
		if err == nil && (!strings.Contains(text, "[+]etcd ok") || !strings.Contains(text, "[+]etcd-readiness ok")) {
			err = fmt.Errorf("/readyz does not speak of its store:\n%s", text)
		}
		return err
	})
}

func (s *stage) until(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	if err := kube.Until(t.Context(), patience, s.out, what, check); err != nil {
		t.Fatal(err)
	}
}

// ctl runs etcdctl inside the node, on all members.
func (s *stage) ctl(ctx context.Context, args ...string) (string, error) {
	const endpoints = "--endpoints=127.0.0.1:2379,127.0.0.1:2389,127.0.0.1:2399"
	return s.dev.Run(ctx, append([]string{"exec", "--node", "0", "--", s.etcdctl, endpoints}, args...)...)
}

// leases demands that events, which end by themselves, hang on leases.
func (s *stage) leases(t *testing.T) {
	t.Helper()
	text, err := s.ctl(t.Context(), "lease", "list")
	if err != nil || strings.Contains(text, "found 0 leases") {
		t.Errorf("no leases are in use: %v: %s", err, text)
	}
}

// compacted demands that the API server has compacted the store's history.
func (s *stage) compacted(t *testing.T) {
	t.Helper()
	s.until(t, "the API server has compacted", func(ctx context.Context) error {
		at, err := s.ctl(ctx, "get", "compact_rev_key", "--print-value-only")
		if err == nil && (at == "" || at == "0") {
			err = fmt.Errorf("compact_rev_key is %q", at)
		}
		return err
	})
	if text, err := s.ctl(t.Context(), "get", "compact_rev_key", "--rev=2"); err == nil || !strings.Contains(err.Error(), "required revision has been compacted") {
		t.Errorf("revision 2 can still be read: %v: %s", err, text)
	}
}

// claims weighs the API server's metrics.
func (s *stage) claims(t *testing.T) {
	t.Helper()
	m, err := scrape(t.Context(), s.web, s.url+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range claims(m, s.consistent, s.raw) {
		s.say("the API server's metrics: %s: %v", c.says, c.value)
		if c.value < c.atLeast || c.value > c.atMost {
			t.Errorf("the API server's metrics: %s: %v, want %v to %v", c.says, c.value, c.atLeast, c.atMost)
		}
	}
}

// equal demands that the members' states are the same at one revision.
func (s *stage) equal(t *testing.T) {
	t.Helper()
	var last string
	s.until(t, "all members have the same state", func(ctx context.Context) error {
		head, err := s.ctl(ctx, "get", "compact_rev_key", "--write-out=fields")
		if err != nil {
			return err
		}
		_, after, _ := strings.Cut(head, `"Revision" : `)
		revision, _, _ := strings.Cut(after, "\n")
		if last, err = s.ctl(ctx, "endpoint", "hashkv", "--rev="+strings.TrimSpace(revision), "--write-out=simple"); err != nil {
			return err
		}
		hashes := map[string]bool{}
		for _, line := range strings.Split(last, "\n") {
			if fields := strings.Split(line, ", "); len(fields) > 1 {
				hashes[fields[1]] = true
			}
		}
		if len(hashes) != 1 {
			return errors.New(last)
		}
		return nil
	})
	s.say("the members' hashes: %s", strings.ReplaceAll(last, "\n", "; "))
}
