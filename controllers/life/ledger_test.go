package life

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// requests are what the operator's account asked of the API server in some stretch of the audit log.
type requests struct {
	// writes are told one by one; rehearsals, of which nothing stays, are among them.
	writes []string
	// renewals are writes of the lease by which the operator leads.
	renewals int
	// reads are counted by verb and resource. A watch is counted when it ends.
	reads map[string]int
}

// logged is how long the audit log is. A request is in it before its client has the answer's end.
func (p *plane) logged() int64 {
	info, err := os.Stat(p.audit)
	if err != nil {
		return 0 // the first request makes it
	}
	return info.Size()
}

// requests reads a stretch of the audit log.
func (p *plane) requests(from, to int64) (seen requests, err error) {
	seen.reads = map[string]int{}
	f, err := os.Open(p.audit)
	if errors.Is(err, os.ErrNotExist) && from == to {
		return seen, nil
	}
	if err != nil {
		return seen, fmt.Errorf("open the API server's audit log: %w", err)
	}
	defer f.Close()
	if size := p.logged(); size < to {
		return seen, fmt.Errorf("the audit log %s has been cut from %d to %d bytes by the API server: measure for less long", p.audit, to, size)
	}
	lines := bufio.NewScanner(io.NewSectionReader(f, from, to-from))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := seen.add(lines.Bytes()); err != nil {
			return seen, err
		}
	}
	return seen, lines.Err()
}

// add counts one line of an audit log.
func (r *requests) add(line []byte) error {
	var e struct {
		Verb, RequestURI string
		RequestReceived  string `json:"requestReceivedTimestamp"`
		ObjectRef        struct{ Resource, Subresource, Namespace, Name string }
		ResponseStatus   struct{ Code int }
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("a line of the audit log: %w: %s", err, line)
	}
	o := e.ObjectRef
	what := e.Verb + " " + strings.TrimSuffix(o.Resource+"/"+o.Subresource, "/")
	switch {
	case slices.Contains([]string{"get", "list", "watch"}, e.Verb):
		r.reads[what]++
	case o.Resource == "leases" && e.Verb == "update":
		r.renewals++
	default:
		r.writes = append(r.writes, fmt.Sprintf("%s %s of %s/%s: answered %d: %s", e.RequestReceived, what, o.Namespace, o.Name, e.ResponseStatus.Code, e.RequestURI))
	}
	return nil
}

// histogram is one of Prometheus' as text: counts of what is not above each bound, bounds rising, the last infinite.
type histogram []bucket

type bucket struct{ bound, count float64 }

// sample splits a line of metrics into the name with its labels and the value.
func sample(line string) (name string, value float64, ok bool) {
	name, text, ok := strings.Cut(strings.TrimSpace(line), "} ")
	if !ok || strings.HasPrefix(line, "#") {
		return "", 0, false
	}
	value, err := strconv.ParseFloat(text, 64)
	return name + "}", value, err == nil
}

// parseHistogram adds up all series of a histogram, which there is none of before the first observation.
func parseHistogram(text, name string) (histogram, error) {
	var h histogram
	for line := range strings.Lines(text) {
		series, value, ok := sample(line)
		if !ok || !strings.HasPrefix(series, name+"_bucket{") {
			continue
		}
		_, end, _ := strings.Cut(series, `le="`)
		end, _, _ = strings.Cut(end, `"`)
		bound, err := strconv.ParseFloat(end, 64)
		if err != nil {
			return nil, fmt.Errorf("the metric %q has no bound: %w", line, err)
		}
		at, found := slices.BinarySearchFunc(h, bound, func(b bucket, bound float64) int { return cmp.Compare(b.bound, bound) })
		if !found {
			h = slices.Insert(h, at, bucket{bound: bound})
		}
		h[at].count += value
	}
	return h, nil
}

// since is what has come to a histogram since an earlier one of the same bounds, or of none.
func (h histogram) since(was histogram) histogram {
	now := slices.Clone(h)
	for i := range was {
		now[i].count -= was[i].count
	}
	return now
}

func (h histogram) count() float64 {
	if len(h) == 0 {
		return 0
	}
	return h[len(h)-1].count
}

// at is the bucket of the quantile, -1 if the histogram is empty.
func (h histogram) at(q float64) int {
	if h.count() == 0 {
		return -1
	}
	return slices.IndexFunc(h, func(b bucket) bool { return b.count >= q*h.count() })
}

// quantile is the upper end of the quantile's bucket: the true one is not above.
func (h histogram) quantile(q float64) float64 {
	i := h.at(q)
	if i < 0 {
		return 0
	}
	return h[i].bound
}

// below is the lower end of the quantile's bucket.
func (h histogram) below(q float64) float64 {
	i := h.at(q)
	if i < 1 {
		return 0
	}
	return h[i-1].bound
}

// exact is the quantile of values in any order, 0 of none.
func exact(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	rising := slices.Sorted(slices.Values(values))
	return rising[max(0, int(math.Ceil(q*float64(len(rising))))-1)]
}

// TestQuantiles compares with the sorted values themselves, through Prometheus' text.
func TestQuantiles(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	rng := rand.New(rand.NewPCG(seed, 2))
	bounds := []float64{0.1, 0.2, 0.5, 1, math.Inf(1)}
	for range 300 {
		early, late := drawn(rng), drawn(rng)
		was, err := parseHistogram(written(bounds, early), "reconcile_seconds")
		if err != nil {
			t.Fatal(err)
		}
		now, err := parseHistogram(written(bounds, append(slices.Clone(early), late...)), "reconcile_seconds")
		if err != nil {
			t.Fatal(err)
		}
		h := now.since(was)
		if h.count() != float64(len(late)) {
			t.Fatalf("seed=%d: %v counted, want %d", seed, h.count(), len(late))
		}
		for _, q := range []float64{0.5, 0.99, 1} {
			if is := exact(late, q); h.quantile(q) < is || h.below(q) >= is {
				t.Fatalf("seed=%d: quantile %v of %v is said to be in (%v, %v]", seed, q, late, h.below(q), h.quantile(q))
			}
		}
	}
	if none := (histogram)(nil); none.count() != 0 || none.quantile(0.99) != 0 {
		t.Error("a histogram without a series is not empty")
	}
}

// drawn are some durations, at least one.
func drawn(rng *rand.Rand) []float64 {
	all := make([]float64, 1+rng.IntN(300))
	for i := range all {
		all[i] = rng.ExpFloat64() / 4
	}
	return all
}

// written is a histogram in Prometheus' text, with lines around it that are not of it.
func written(bounds, values []float64) string {
	text := "# TYPE reconcile_seconds histogram\nreconcile_seconds_sum{controller=\"a\"} 3\nother_bucket{le=\"0.1\"} 7\nplain 3\n"
	for _, bound := range bounds {
		n := 0
		for _, v := range values {
			if v <= bound {
				n++
			}
		}
		le := strconv.FormatFloat(bound, 'g', -1, 64)
		text += fmt.Sprintf("reconcile_seconds_bucket{controller=\"a\",le=%q} %d\n", le, n)
	}
	return text
}

// TestAuditedRequests reads lines as the API server writes them, and a stretch of a file.
func TestAuditedRequests(t *testing.T) {
	line := func(verb, resource, sub, uri string) string {
		return fmt.Sprintf(`{"kind":"Event","stage":"ResponseComplete","verb":%q,"requestURI":%q,"user":{"username":"x"},"objectRef":{"resource":%q,"subresource":%q,"namespace":"n","name":"o"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}`+"\n", verb, uri, resource, sub)
	}
	before := line("delete", "pods", "", "/before")
	within := line("update", "leases", "", "/lease") + line("get", "pods", "", "/pod") + line("watch", "pods", "", "/pods?watch=true") +
		line("update", "raftclusters", "status", "/status") + line("patch", "events", "", "/event") + line("create", "leases", "", "/first") +
		line("patch", "persistentvolumeclaims", "", "/claim?dryRun=All")
	p := &plane{audit: filepath.Join(t.TempDir(), "audit.log")}
	if seen, err := p.requests(0, p.logged()); err != nil || len(seen.writes) != 0 {
		t.Errorf("without a file: %v, %v", seen, err)
	}
	if err := os.WriteFile(p.audit, []byte(before+within+before), 0o600); err != nil {
		t.Fatal(err)
	}
	seen, err := p.requests(int64(len(before)), int64(len(before+within)))
	if err != nil {
		t.Fatal(err)
	}
	if len(seen.writes) != 4 || seen.renewals != 1 || seen.reads["get pods"] != 1 || seen.reads["watch pods"] != 1 || len(seen.reads) != 2 {
		t.Errorf("read %+v", seen)
	}
	if w := "2026-01-01T00:00:00.000000Z update raftclusters/status of n/o: answered 200: /status"; seen.writes[0] != w {
		t.Errorf("the first write is told as %q, want %q", seen.writes[0], w)
	}
	if _, err := p.requests(0, p.logged()+1); err == nil {
		t.Error("a log that is shorter than it was is read as if it were not")
	}
}
