package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
)

// matrix counts outcomes by request, and remarks that are no differences.
type matrix struct {
	mu      sync.Mutex
	cells   map[string]map[string]int
	remarks map[string]int
	ops     int
}

func newMatrix() *matrix {
	return &matrix{cells: map[string]map[string]int{}, remarks: map[string]int{}}
}

func (m *matrix) remark(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remarks[numbers.ReplaceAllString(text, "N")]++
}

// total is how many operations were counted.
func (m *matrix) total() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// numbers are taken out of the texts of outcomes and remarks.
var numbers = regexp.MustCompile(`[0-9]{2,}`)

func (m *matrix) count(o op, got outcome) {
	row, column := cell(o, got)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cells[row] == nil {
		m.cells[row] = map[string]int{}
	}
	m.cells[row][column]++
	m.ops++
}

// cell is the matrix' row and column of an outcome.
func cell(o op, got outcome) (row, column string) {
	row, column = o.Kind, "ok"
	if got.code != codes.OK {
		return row, fmt.Sprintf("%s: %s", got.code, numbers.ReplaceAllString(got.text, "N"))
	}
	switch r := got.resp.(type) {
	case *pb.LeaseKeepAliveResponse:
		if r.GetTTL() == 0 {
			column = "no such lease (TTL 0)"
		}
	case *pb.LeaseTimeToLiveResponse:
		if r.GetTTL() < 0 {
			column = "no such lease (TTL -1)"
		}
	case *pb.TxnResponse:
		if !r.GetSucceeded() {
			column = "ok, compares failed"
		}
	}
	if q, ok := o.Req.(*pb.WatchRequest); ok && o.Kind == "Watch" {
		return watchCell(q, got)
	}
	return row, column
}

func watchCell(q *pb.WatchRequest, got outcome) (row, column string) {
	r, _ := got.resp.(*pb.WatchResponse)
	column = "ok"
	switch {
	case q.GetCreateRequest() != nil:
		row = "Watch create"
		if r.GetCanceled() {
			column = r.GetCancelReason()
		} else if r.GetCompactRevision() != 0 {
			column = "canceled: compacted"
		}
	case q.GetCancelRequest() != nil:
		if row = "Watch cancel"; r == nil {
			column = "no such watcher (silence)"
		}
	default:
		if row = "Watch progress"; r == nil {
			column = "not possible now (silence)"
		}
	}
	return row, column
}

// atLeast is how often each cell must be met in a full run of fullRun operations.
const (
	atLeast = 10
	fullRun = 100_000
)

// print writes the matrix, and reports whether each cell that can be reached was met often enough.
func (m *matrix) print(w io.Writer) bool {
	enough := true
	for _, row := range reachable() {
		for _, column := range row.columns {
			if m.cells[row.name] == nil {
				m.cells[row.name] = map[string]int{}
			}
			m.cells[row.name][column] += 0
		}
	}
	for _, row := range slices.Sorted(maps.Keys(m.cells)) {
		fmt.Fprintln(w, row)
		for _, column := range slices.Sorted(maps.Keys(m.cells[row])) {
			n, note := m.cells[row][column], ""
			if n < atLeast {
				enough, note = false, "   <- too few"
			}
			fmt.Fprintf(w, "  %8d  %s%s\n", n, column, note)
		}
	}
	for _, text := range slices.Sorted(maps.Keys(m.remarks)) {
		fmt.Fprintf(w, "remark, %d times: %s\n", m.remarks[text], text)
	}
	return enough
}

// cells of one request.
type row struct {
	name    string
	columns []string
}

// reachable are the cells that a full run must meet.
func reachable() []row {
	const (
		emptyKey  = "InvalidArgument: etcdserver: key is not provided"
		noKey     = "InvalidArgument: etcdserver: key not found"
		value     = "InvalidArgument: etcdserver: value is provided"
		lease     = "InvalidArgument: etcdserver: lease is provided"
		tooMany   = "InvalidArgument: etcdserver: too many operations in txn request"
		duplicate = "InvalidArgument: etcdserver: duplicate key given in txn request"
		sort      = "InvalidArgument: etcdserver: invalid sort option"
		compacted = "OutOfRange: etcdserver: mvcc: required revision has been compacted"
		future    = "OutOfRange: etcdserver: mvcc: required revision is a future revision"
		large     = "InvalidArgument: etcdserver: request is too large"
		frame     = "ResourceExhausted: grpc: received message larger than max (N vs. N)"
		noLease   = "NotFound: etcdserver: requested lease not found"
	)
	return []row{
		{"Range", []string{"ok", emptyKey, sort, compacted, future}},
		{"RangeStream", []string{
			"ok", emptyKey, sort, compacted, future,
			"Unimplemented: RangeStream does not support custom sort orders",
			"Unimplemented: RangeStream does not support revision filters",
		}},
		{"Put", []string{"ok", emptyKey, noKey, value, lease, large, frame, noLease}},
		{"DeleteRange", []string{"ok", emptyKey, large}},
		{"Txn", []string{
			"ok", "ok, compares failed", emptyKey, noKey, value, lease, tooMany, duplicate, sort, compacted, future, large, noLease,
		}},
		{"Compact", []string{"ok", compacted, future}},
		{"Watch create", []string{
			"ok", "canceled: compacted", "etcdserver: mvcc: required revision has been compacted",
			"mvcc: duplicate watch ID provided on the WatchStream", "mvcc: watcher range is empty",
		}},
		{"Watch cancel", []string{"ok", "no such watcher (silence)"}},
		{"Watch progress", []string{"ok", "not possible now (silence)"}},
		{"CloseWatch", []string{"ok"}},
		{"LeaseGrant", []string{
			"ok", "FailedPrecondition: etcdserver: lease already exists", "OutOfRange: etcdserver: too large lease TTL",
		}},
		{"LeaseRevoke", []string{"ok", noLease}},
		{"LeaseKeepAlive", []string{"ok", "no such lease (TTL 0)"}},
		{"LeaseTimeToLive", []string{"ok", "no such lease (TTL -1)"}},
		{"LeaseLeases", []string{"ok"}},
		{"HashKV", []string{"ok", compacted, future}},
		{"Hash", []string{"ok"}},
		{"Defragment", []string{"ok"}},
		{"Alarm", []string{"ok"}},
	}
}
