package life

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// service is the operator as people run it: the program itself, with the flags of the chart and the rights of its own
// ServiceAccount, in a process whose memory and processor time are nobody else's.
type service struct {
	plane   *plane
	process *child
	metrics string
	pace    *pace
}

// serve builds the program, starts it as the operator of all namespaces, and waits until it leads and is ready.
func (s *suite) serve(ctx context.Context) (*service, error) {
	path := filepath.Join(s.plane.dir, "raftsman")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", path, "../../cmd/raftsman")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the operator: %w\n%s", err, out)
	}
	kubeconfig, err := s.credentials(ctx)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	health, metrics := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	cmd := exec.Command(path, "operator", "--leader-elect", "--health-address="+health, "--metrics-address="+metrics)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "RAFTSMAN_MEMBER_IMAGE="+image, "POD_NAMESPACE=raftsman-system")
	process, err := s.plane.launch("operator", cmd)
	if err != nil {
		return nil, err
	}
	v := &service{plane: s.plane, process: process, metrics: "http://" + metrics + "/metrics", pace: &pace{}}
	go v.pace.run(ctx, s.api)
	return v, wait(ctx, time.Minute, "the operator's process is ready and leads", func() error {
		if process.over() {
			return fmt.Errorf("it has ended: %w\n%s", process.err, process.tail())
		}
		if _, err := fetch(ctx, "http://"+health+"/readyz"); err != nil {
			return err
		}
		text, err := fetch(ctx, v.metrics)
		if err == nil && !strings.Contains(text, `leader_election_master_status{name="raftsman-operator"} 1`) {
			err = fmt.Errorf("it does not lead yet")
		}
		return err
	})
}

// credentials makes a kubeconfig with a token of the operator's own ServiceAccount, as its Pod would have.
func (s *suite) credentials(ctx context.Context) (string, error) {
	seconds := int64((24 * time.Hour).Seconds())
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	own := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "raftsman-system", Name: "raftsman-operator"}}
	if err := s.api.SubResource("token").Create(ctx, own, token); err != nil {
		return "", fmt.Errorf("make a token for the operator: %w", err)
	}
	return s.plane.writeKubeconfig("operator", token.Status.Token)
}

func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", url, answer.Status, text)
	}
	return string(text), err
}

// pace is how long writes take that have nothing to do with the operator. Where they are slow, machine and API server
// are, and reconciles, which make many requests one after the other, cannot be quick.
type pace struct {
	mu   sync.Mutex
	took []float64 // seconds
}

// run writes the same object again and again, with a pause in between, until the context ends.
func (p *pace) run(ctx context.Context, c client.Client) {
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "raftsman-system", Name: "pace"}}
	if err := c.Create(ctx, o); err != nil {
		return // then there is no figure, and the table says so
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			_ = c.Delete(context.Background(), o) // the API server ends soon, too
			return
		case <-tick.C:
		}
		began := time.Now()
		patch := fmt.Sprintf(`{"data":{"turn":"%d"}}`, i)
		if err := c.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(patch))); err == nil {
			p.mu.Lock()
			p.took = append(p.took, time.Since(began).Seconds())
			p.mu.Unlock()
		}
	}
}

// now are the figures so far. They are added to, never changed.
func (p *pace) now() []float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.took
}

// measure is what the operator's process has come to at one moment.
type measure struct {
	at time.Time
	// logged is how far the API server's log of its requests goes.
	logged int64
	plane  *plane
	// times are its reconciles, waits what they waited for in the queue before, failed how many returned an error.
	times, waits histogram
	failed       float64
	// own are what writes of this test's own took, in seconds.
	own []float64
	// used is processor time, memory what it holds, most the most that it has ever held; both in MiB.
	used         time.Duration
	memory, most float64
}

func (v *service) measure(ctx context.Context) (m measure, err error) {
	text, err := fetch(ctx, v.metrics)
	if err != nil {
		return m, fmt.Errorf("read the operator's metrics: %w", err)
	}
	m = measure{at: time.Now(), logged: v.plane.logged(), plane: v.plane, own: v.pace.now()}
	if m.times, err = parseHistogram(text, "controller_runtime_reconcile_time_seconds"); err != nil {
		return m, err
	}
	if m.waits, err = parseHistogram(text, "workqueue_queue_duration_seconds"); err != nil {
		return m, err
	}
	for line := range strings.Lines(text) {
		if name, value, ok := sample(line); ok && strings.HasPrefix(name, "controller_runtime_reconcile_errors_total{") {
			m.failed += value
		}
	}
	pid := v.process.cmd.Process.Pid
	if m.used, err = processorTime(pid); err != nil {
		return m, err
	}
	if m.memory, err = held(pid, "VmRSS"); err != nil {
		return m, err
	}
	m.most, err = held(pid, "VmHWM")
	return m, err
}

// processorTime is what a process has used so far, in the system's ticks of 10 ms.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in brackets, which may hold anything; user and system time are the
	// twelfth and thirteenth after it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields after the name: %s", pid, len(fields), text)
	}
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// held is a figure of a process's memory, in MiB.
func held(pid int, name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == name+":" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, name)
}

// cost is what happened between two measures.
type cost struct {
	took         time.Duration
	times, waits histogram
	failed       float64
	own          []float64
	used         time.Duration
	memory, most float64
	requests
}

func between(a, b measure) (cost, error) {
	seen, err := b.plane.requests(a.logged, b.logged)
	return cost{
		took: b.at.Sub(a.at), times: b.times.since(a.times), waits: b.waits.since(a.waits), failed: b.failed - a.failed,
		own: b.own[len(a.own):], used: b.used - a.used, memory: b.memory, most: b.most, requests: seen,
	}, err
}

// heading explains the rows. A reconcile's quantiles are the upper ends of the histogram's buckets: the true ones are
// not above. The quantiles of this test's own writes tell how quick the API server is meanwhile.
const heading = "phase     took s  reconciles  failed  p50 s  p99 s  queued p99 s  own write p50 s  p99 s  writes  renewals  reads  RSS MiB  peak MiB  CPU s/min"

func (c cost) row(name string) string {
	reads := 0
	for _, n := range c.reads {
		reads += n
	}
	load := 0.0
	if c.took > time.Second {
		load = c.used.Seconds() / c.took.Minutes()
	}
	return fmt.Sprintf("%-8s %7.1f %11.0f %7.0f %6.3f %6.3f %13.3f %16.3f %6.3f %7d %9d %6d %8.1f %9.1f %10.2f", name, c.took.Seconds(),
		c.times.count(), c.failed, c.times.quantile(0.5), c.times.quantile(0.99), c.waits.quantile(0.99), exact(c.own, 0.5), exact(c.own, 0.99),
		len(c.writes), c.renewals, reads, c.memory, c.most, load)
}
