package kubestore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// sample is one line of an API server's metrics.
type sample struct {
	name   string
	labels string // as they are written
	value  float64
}

// metrics are all lines.
type metrics []sample

// parseMetrics reads the text form, without comments.
func parseMetrics(in io.Reader) (metrics, error) {
	var all metrics
	form := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? ([^ ]+)`)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := form.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", lines.Text(), err)
		}
		all = append(all, sample{m[1], m[2], value})
	}
	return all, lines.Err()
}

// sum adds up the lines of a name that have all the labels, each written name="value".
func (m metrics) sum(name string, labels ...string) float64 {
	var total float64
next:
	for _, s := range m {
		if s.name != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(s.labels, "{"+l) && !strings.Contains(s.labels, ","+l) {
				continue next
			}
		}
		total += s.value
	}
	return total
}

func scrape(ctx context.Context, web *http.Client, url string) (metrics, error) {
	text, err := get(ctx, web, url)
	if err != nil {
		return nil, err
	}
	return parseMetrics(strings.NewReader(text))
}

func get(ctx context.Context, web *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	answer, err := web.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, answer.Status, text)
	}
	return string(text), err
}

// claim is something that the API server's metrics must show.
type claim struct {
	says    string
	value   float64
	atLeast float64
	atMost  float64
}

// claims are what proves that the API server uses Raftsman as it uses etcd 3.7. lists is how many consistent lists of
// the cached kind were asked for.
//
// That a range was streamed is counted in three places: by gRPC's client (method RangeStream, with the code), by the
// store layer as the operation listStream, and as lists with streamed="true". An Unimplemented would turn streaming off
// for ten minutes, after which lists are counted as streamed="false".
//
// A request for progress has no counter of its own: it is a message on a watch's stream. Its answer is counted as a
// bookmark of that kind, and nothing else makes one in the first ten minutes, which is the interval of those that come
// by themselves. The API server sends it only where every endpoint's Status.version is one that answers correctly, and
// a consistent list is served from the cache (consistent_read_total, without fallback) only where the answer came in
// time.
func claims(m metrics, lists, direct int) []claim {
	const handled, listed, asked = "grpc_client_handled_total", "apiserver_storage_list_duration_seconds_count", "etcd_requests_total"
	const consistent, cachedKind, directKind = "apiserver_watch_cache_consistent_read_total", `resource="configmaps"`, `resource="secrets"`
	unbounded := 1e18
	range1 := `grpc_method="RangeStream"`
	return []claim{
		{"streamed ranges that ended well", m.sum(handled, range1, `grpc_code="OK"`), float64(direct), unbounded},
		{"streamed ranges answered Unimplemented", m.sum(handled, range1, `grpc_code="Unimplemented"`), 0, 0},
		{"lists by stream", m.sum(asked, `operation="listStream"`), float64(direct), unbounded},
		{"lists of secrets by stream", m.sum(listed, `streamed="true"`, directKind), float64(direct), unbounded},
		{"lists of secrets by page, for want of streams", m.sum(listed, `streamed="false"`, directKind), 0, 0},
		{"consistent lists of configmaps from the cache", m.sum(consistent, cachedKind, `success="true"`, `fallback="false"`), float64(lists), unbounded},
		{"answers to requests for progress of configmaps", m.sum("etcd_bookmark_total", cachedKind), 1, unbounded},
		{"messages on watches' streams", m.sum("grpc_client_msg_sent_total", `grpc_method="Watch"`), 1, unbounded},
		{"transactions", m.sum(handled, `grpc_method="Txn"`, `grpc_code="OK"`), 1, unbounded},
		{"compactions", m.sum(handled, `grpc_method="Compact"`, `grpc_code="OK"`), 1, unbounded},
		{"leases granted", m.sum(handled, `grpc_method="LeaseGrant"`, `grpc_code="OK"`), 1, unbounded},
		{"requests that the store did not know", m.sum(handled, `grpc_code="Unimplemented"`), 0, 0},
		{"watches that the API server ended because their client was slow", m.sum("apiserver_terminated_watchers_total"), 0, unbounded},
		{"caches that differ from the store", m.sum("apiserver_storage_consistency_checks_total", `status="failure"`), 0, 0},
	}
}

// TestMetrics reads a small text and weighs it.
func TestMetrics(t *testing.T) {
	m, err := parseMetrics(strings.NewReader(`# HELP a b
a{x="1",y="2"} 3
a{x="1",y="3"} 4
a{xx="1"} 100
b 1e+06
c{l="with } and , in it"} NaN
`))
	if err != nil || len(m) != 5 {
		t.Fatalf("%d lines, %v", len(m), err)
	}
	for labels, want := range map[string]float64{`x="1"`: 7, `y="3"`: 4, `xx="1"`: 100, `z="1"`: 0} {
		if got := m.sum("a", labels); got != want {
			t.Errorf("a with %s is %v, want %v", labels, got, want)
		}
	}
	if got := m.sum("b"); got != 1e6 {
		t.Errorf("b is %v", got)
	}
	if got := m.sum("a", `x="1"`, `y="2"`); got != 3 {
		t.Errorf("a with two labels is %v", got)
	}
}
