// Package house holds the tests that keep the architecture: which package may import which, and the
// measures of a tidy file. It has no code of its own.
package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "raftsman.dev/"

// room is one line of the import table: what non-test files of a package may import of ours and of
// others (by prefix), whether the standard library is open to it, and why.
type room struct {
	ours   []string
	others []string
	std    []string // nil: all of it
	why    string
}

// pure is the standard library of a package that must not perform IO, read a clock or draw at random by
// itself.
var pure = []string{"bytes", "cmp", "encoding/binary", "errors", "fmt", "hash/crc32", "iter", "maps", "math", "math/bits", "math/rand/v2", "slices", "sort", "strconv", "strings"}

var kubernetes = []string{"k8s.io/", "sigs.k8s.io/", "github.com/go-logr/logr", "github.com/prometheus/client_golang"}

// table is design.md §2 as data. A package that is not listed fails the test: give it a line first.
var table = map[string]room{
	"node/raft/quorum": {std: pure, why: "arithmetic only"},
	"node/raft":        {ours: []string{"node/raft/quorum"}, std: pure, why: "the core is a value machine"},
	"node/vfs":         {others: []string{"golang.org/x/sys/unix"}, why: "a leaf"},
	"node/wal":         {ours: []string{"node/raft", "node/vfs"}, why: "the log knows entries and files, nothing else"},
	"node/datadir":     {ours: []string{"node/raft", "node/vfs"}, why: "identity and layout of one directory"},
	"node/snapshot":    {ours: []string{"node/raft"}, why: "a stream format"},
	"node/kv/engine":   {std: []string{"errors", "io"}, why: "the seam under the store: words only"},
	"node/kv/lsm":      {ours: []string{"node/kv/engine"}, others: []string{"github.com/cockroachdb/pebble/v2"}, why: "rows in Pebble, whatever they mean"},
	"node/kv/memory":   {ours: []string{"node/kv/engine"}, std: append(slices.Clone(pure), "io", "sync", "sync/atomic"), why: "rows in memory, for simulations: deterministic"},
	"node/kv/seeds":    {std: []string{"os", "strconv", "testing"}, why: "for tests only"},
	"node/kv/tally":    {std: pure, why: "how many keys there are, as a value: no locks, no rows"},
	"node/kv":          {ours: []string{"node/kv/engine", "node/kv/lsm", "node/kv/tally"}, others: []string{"github.com/cockroachdb/pebble/v2"}, why: "the store knows no Raft"},
	"node/lease":       {ours: []string{"node/kv"}, std: append(slices.Clone(pure), "time"), why: "the leader's clockwork of leases: a value machine, its time is an argument"},
	"node/watch":       {ours: []string{"node/kv"}, std: append(slices.Clone(pure), "context", "sync", "sync/atomic", "time"), why: "events from the store to watchers; knows neither Raft nor gRPC"},
	"node/transport":   {ours: []string{"node/raft"}, others: []string{"github.com/hashicorp/go-msgpack/v2"}, why: "the only room that knows msgpack"},
	"node/replica":     {ours: []string{"node/raft", "node/wal", "node/snapshot", "node/kv", "node/vfs"}, why: "the only room that sees core, log and store together"},
	"node/certs":       {why: "files in, TLS configurations out; a leaf"},
	"node/admin":       {why: "all the operator sees of a node; a leaf"},
	"node/etcdapi":     {ours: []string{"node/kv", "node/watch"}, others: []string{"go.etcd.io/etcd/api/v3", "google.golang.org/"}, why: "the client API over its own Backend"},
	"node/sim":         {ours: []string{"node/raft", "node/replica", "node/wal", "node/kv", "node/kv/memory", "node/vfs", "node/datadir", "node/transport", "node/snapshot"}, others: []string{"github.com/cockroachdb/pebble/v2/vfs"}, why: "a world around the production replica; nobody imports it"},
	"node/procs":       {others: []string{"golang.org/x/sys/unix"}, why: "the Go scheduler's processors; a leaf"},
	"node":             {ours: []string{"node/*"}, others: []string{"google.golang.org/", "github.com/go-logr/logr", "github.com/prometheus/client_golang"}, why: "assembly"},
	"node/local":       {ours: []string{"node/admin"}, why: "a group of child processes, driven from outside like any other"},

	"api/v1alpha1":         {others: kubernetes, why: "types only"},
	"controllers/plan":     {ours: []string{"api/v1alpha1"}, others: []string{"k8s.io/apimachinery"}, why: "pure: observation in, step out"},
	"controllers/resource": {ours: []string{"api/v1alpha1"}, others: kubernetes, why: "pure builders"},
	"controllers/observe":  {ours: []string{"api/v1alpha1", "controllers/plan", "controllers/resource", "node/admin"}, others: kubernetes, why: "facts in"},
	"controllers/act":      {ours: []string{"api/v1alpha1", "controllers/observe", "controllers/plan", "controllers/resource", "node/admin"}, others: kubernetes, why: "one step out"},
	"controllers":          {ours: []string{"api/v1alpha1", "controllers/*", "node/admin"}, others: kubernetes, why: "one screen of observe, plan, act, report"},

	"cmd/raftsman": {ours: []string{"node", "node/*", "controllers", "controllers/*", "api/v1alpha1"}, others: append(slices.Clone(kubernetes), "github.com/spf13/cobra", "google.golang.org/", "go.etcd.io/etcd/api/v3"), why: "wiring only"},
}

func TestImportsRunOneWay(t *testing.T) {
	found := 0
	for file, pkg := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(pkg, "hack/") {
			continue
		}
		found++
		line, ok := table[pkg]
		if !ok {
			t.Errorf("%s: package %s has no line in the import table (hack/house/imports_test.go): add one, and say why", file, pkg)
			continue
		}
		for _, dep := range imports(t, file) {
			if !line.allows(dep) {
				t.Errorf("%s must not import %s: %s", file, dep, line.why)
			}
		}
	}
	if found == 0 {
		t.Fatal("no Go file found: this test checks nothing")
	}
}

func (r room) allows(dep string) bool {
	if own, ok := strings.CutPrefix(dep, module); ok {
		return slices.ContainsFunc(r.ours, func(p string) bool {
			prefix, wild := strings.CutSuffix(p, "*")
			return own == p || wild && strings.HasPrefix(own, prefix)
		})
	}
	if !strings.Contains(strings.Split(dep, "/")[0], ".") {
		return r.std == nil || slices.Contains(r.std, dep)
	}
	return slices.ContainsFunc(r.others, func(p string) bool {
		return dep == p || strings.HasPrefix(dep, strings.TrimSuffix(p, "/")+"/")
	})
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var deps []string
	for _, spec := range parsed.Imports {
		dep, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		deps = append(deps, dep)
	}
	return deps
}

// root is the repository's top, seen from this package.
const root = "../.."

// goFiles lists the main module's Go files with their package paths, generated ones left out.
func goFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || nestedModule(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(rel, ".go") && !strings.Contains(filepath.Base(rel), "zz_generated") {
			files[filepath.ToSlash(rel)] = filepath.ToSlash(filepath.Dir(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
