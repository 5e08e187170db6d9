package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// brief are the scenarios of a run that is to be short, by the words before their colon.
func brief() []string {
	return []string{
		"install", "clients", "scale", "leader killed", "Pod and volume deleted", "isolated leader", "roll", "transfer",
		"node drained", "leader's Pod deleted", "bad image", "columns",
	}
}

// short is a scenario's name up to its colon.
func short(name string) string {
	head, _, _ := strings.Cut(name, ":")
	return head
}

// pick says which scenarios a run takes, from the environment:
//
//	RAFTSMAN_E2E_ALL=1       all, not only the brief ones; -run with a scenario's name means all too
//	RAFTSMAN_E2E_SHARD=2/3   of these the second third
//	RAFTSMAN_E2E_RESUME=1    of these the ones that have not passed yet with the same build
type pick struct {
	all       bool
	shard, of int
	passed    []string
}

func newPick(all, shard, run string, passed []string) (pick, error) {
	p := pick{all: all != "" || strings.Contains(run, "/"), shard: 1, of: 1, passed: passed}
	if shard == "" {
		return p, nil
	}
	if n, err := fmt.Sscanf(shard, "%d/%d", &p.shard, &p.of); n != 2 || err != nil || p.shard < 1 || p.shard > p.of || fmt.Sprintf("%d/%d", p.shard, p.of) != shard {
		return p, fmt.Errorf("RAFTSMAN_E2E_SHARD=%s: give the shard's number and how many there are, such as 1/3", shard)
	}
	return p, nil
}

// takes says whether scenario i runs. What everything rests on always does.
func (p pick) takes(i int, name string, vital bool) bool {
	return vital || (p.all || slices.Contains(brief(), short(name))) && i%p.of == p.shard-1 && !slices.Contains(p.passed, name)
}

// record is what is kept of a scenario that has run.
type record struct {
	Scenario, Build string
	Passed          bool
	Took            time.Duration
	Rows            []row
	Words           []string
}

func (s *suite) recordsFile() string { return filepath.Join(s.dir, "records.jsonl") }

// resume reads the records of earlier runs with the same build, or begins them anew, and picks the scenarios.
func (s *suite) resume(t *testing.T) pick {
	t.Helper()
	binary, err := os.Open(filepath.Join(s.dir, "raftsman"))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, binary); err != nil {
		t.Fatal(err)
	}
	s.build = fmt.Sprintf("%x%s", sum.Sum(nil)[:8], os.Getenv("RAFTSMAN_E2E_STORE"))
	if os.Getenv("RAFTSMAN_E2E_RESUME") != "" {
		s.records, err = readRecords(s.recordsFile(), s.build)
	} else if err = os.Remove(s.recordsFile()); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var passed []string
	for _, r := range s.records {
		passed = append(passed, r.Scenario)
	}
	p, err := newPick(os.Getenv("RAFTSMAN_E2E_ALL"), os.Getenv("RAFTSMAN_E2E_SHARD"), flag.Lookup("test.run").Value.String(), passed)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// readRecords are the last records of scenarios that have passed with a build. A line cut short is left out.
func readRecords(file, build string) ([]record, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []record
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r record
		if json.Unmarshal(lines.Bytes(), &r) != nil || r.Build != build {
			continue
		}
		all = slices.DeleteFunc(all, func(o record) bool { return o.Scenario == r.Scenario })
		if r.Passed {
			all = append(all, r)
		}
	}
	return all, lines.Err()
}

// note keeps the record of a scenario that has just ended.
func (s *suite) note(t *testing.T, passed bool, took time.Duration) {
	t.Helper()
	r := record{s.scene, s.build, passed, took, s.rows, s.seen.Words()}
	s.rows = nil
	s.records = append(slices.DeleteFunc(s.records, func(o record) bool { return o.Scenario == r.Scenario }), r)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(s.recordsFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.Write(append(text, '\n'))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Error(err)
	}
}

// tell prints the table of all that is recorded.
func (s *suite) tell(t *testing.T, scenarios int) {
	t.Helper()
	var rows []row
	passed := 0
	for _, r := range s.records {
		rows = append(rows, r.Rows...)
		if r.Passed {
			passed++
		}
	}
	s.say("%d of %d scenarios have passed\n%s\n%s", passed, scenarios, table(rows), worst(rows))
	t.Logf("%d of %d scenarios have passed\n%s\n%s", passed, scenarios, table(rows), worst(rows))
}

func TestPick(t *testing.T) {
	names := []string{"install: a", "image: b", "scale: c", "roll: d", "hibernate: e", "two nodes: f"}
	taken := func(p pick) []string {
		var all []string
		for i, n := range names {
			if p.takes(i, n, i == 0) {
				all = append(all, short(n))
			}
		}
		return all
	}
	cases := []struct {
		all, shard, run string
		passed          []string
		want            string
	}{
		{"", "", "", nil, "install scale roll"},
		{"", "", "TestEndToEnd", nil, "install scale roll"},
		{"", "", "TestEndToEnd/(install|hib)", nil, "install image scale roll hibernate two nodes"}, // go test chooses among them
		{"1", "", "", nil, "install image scale roll hibernate two nodes"},
		{"1", "1/2", "", nil, "install scale hibernate"},
		{"1", "2/2", "", nil, "install image roll two nodes"},
		{"1", "", "", []string{"install: a", "roll: d"}, "install image scale hibernate two nodes"},
	}
	for _, c := range cases {
		p, err := newPick(c.all, c.shard, c.run, c.passed)
		if got := strings.Join(taken(p), " "); err != nil || got != c.want {
			t.Errorf("%+v: took %s (%v)", c, got, err)
		}
	}
	for _, bad := range []string{"0/3", "4/3", "1", "x/y", "1/3/5"} {
		if _, err := newPick("", bad, "", nil); err == nil {
			t.Errorf("shard %s is taken", bad)
		}
	}
}

func TestRecords(t *testing.T) {
	s := &suite{dir: t.TempDir(), build: "b", seen: nil}
	text := `{"Scenario":"a","Build":"b","Passed":true}
{"Scenario":"c","Build":"b","Passed":true}
{"Scenario":"c","Build":"b","Passed":false}
{"Scenario":"d","Build":"other","Passed":true}
{"Scenario":"e","Build":"b","Pas`
	if err := os.WriteFile(s.recordsFile(), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	all, err := readRecords(s.recordsFile(), "b")
	if err != nil || len(all) != 1 || all[0].Scenario != "a" {
		t.Errorf("records: %+v %v", all, err)
	}
}

// TestScenarios needs no cluster: records go by names, so each is there once; and every brief one is a scenario.
func TestScenarios(t *testing.T) {
	known := map[string]bool{}
	heads := map[string]bool{}
	for _, x := range (&suite{}).scenarios() {
		if known[x.name] || x.run == nil || short(x.name) == x.name {
			t.Errorf("%q is there twice, does nothing, or promises nothing", x.name)
		}
		known[x.name], heads[short(x.name)] = true, true
	}
	if len(known) < 40 {
		t.Errorf("%d scenarios: 40 were promised", len(known))
	}
	for _, b := range brief() {
		if !heads[b] {
			t.Errorf("the brief scenario %q is not there", b)
		}
	}
}
