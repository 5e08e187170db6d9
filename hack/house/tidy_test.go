package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The measures of the house: lines of a function and of a file that is not a test.
const (
	maxFunction = 70
	maxFile     = 600
)

// core are the packages into which no clock, random source, file or socket enters but as an argument.
var core = []string{"node/raft", "node/raft/quorum", "node/replica", "node/wal", "node/snapshot", "node/kv", "node/kv/engine", "node/kv/lsm", "node/kv/memory", "node/kv/tally", "node/lease", "node/watch"}

// constant are the calls whose result a package-level variable may hold: it is never assigned again.
var constant = []string{"errors.New", "crc32.MakeTable", "regexp.MustCompile", "schema.GroupVersion"}

func nestedModule(dir string) bool {
	if dir == root {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func TestTidy(t *testing.T) {
	documented := map[string]bool{}
	for file, pkg := range goFiles(t) {
		source, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, source, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		documented[pkg] = documented[pkg] || parsed.Doc != nil
		checkWords(t, file, source)
		checkCalls(t, set, file, pkg, parsed)
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		if n := bytes.Count(source, []byte("\n")); n > maxFile {
			t.Errorf("%s has %d lines, the measure is %d: give a part of it a file of its own", file, n, maxFile)
		}
		checkFunctions(t, set, parsed)
		checkGlobals(t, set, pkg, parsed)
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment: say what it is for", pkg)
		}
	}
	for _, pkg := range []string{"util", "utils", "common", "helpers", "misc"} {
		for _, dir := range documentedDirs(documented) {
			if filepath.Base(dir) == pkg {
				t.Errorf("package %s: name it after what it does", dir)
			}
		}
	}
}

func documentedDirs(m map[string]bool) []string {
	var dirs []string
	for dir := range m {
		dirs = append(dirs, dir)
	}
	return dirs
}

func checkWords(t *testing.T, file string, source []byte) {
	t.Helper()
	if strings.HasPrefix(file, "hack/house/") {
		return
	}
	for _, word := range []string{"TODO", "FIXME", "XXX"} {
		if bytes.Contains(source, []byte(word)) {
			t.Errorf("%s contains %s: finish it, or write an issue", file, word)
		}
	}
}

func checkFunctions(t *testing.T, set *token.FileSet, file *ast.File) {
	t.Helper()
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > maxFunction {
			t.Errorf("%s: function %s has %d lines, the measure is %d", set.Position(f.Pos()), f.Name.Name, n, maxFunction)
		}
	}
}

// checkGlobals refuses package-level variables but sentinels, tables and interface assertions.
func checkGlobals(t *testing.T, set *token.FileSet, pkg string, file *ast.File) {
	t.Helper()
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR || pkg == "api/v1alpha1" {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if v.Names[0].Name == "_" {
				continue
			}
			for i, name := range v.Names {
				if pkg == "cmd/raftsman" && name.Name == "version" {
					continue // the linker sets it, and it can set nothing but a variable
				}
				if i >= len(v.Values) || !isConstant(v.Values[i]) {
					t.Errorf("%s: package-level variable %s: pass it as an argument, or make it a constant, a function or a sentinel error", set.Position(name.Pos()), name.Name)
				}
			}
		}
	}
}

// isConstant accepts sentinels, also under a second name, and tables written out as literals.
func isConstant(e ast.Expr) bool {
	switch x := e.(type) {
	case *ast.SelectorExpr:
		return strings.HasPrefix(x.Sel.Name, "Err")
	case *ast.CompositeLit:
		return true
	case *ast.CallExpr:
		return slices.Contains(constant, dotted(x.Fun))
	}
	return false
}

func checkCalls(t *testing.T, set *token.FileSet, file, pkg string, parsed *ast.File) {
	t.Helper()
	inCore := slices.Contains(core, pkg) && !strings.HasSuffix(file, "_test.go")
	ast.Inspect(parsed, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		name := dotted(s)
		banned := name == "time.Sleep"
		if inCore {
			banned = banned || name == "time.Now" || name == "time.After" || name == "time.NewTimer" || name == "time.NewTicker" || strings.HasPrefix(name, "os.") || strings.HasPrefix(name, "net.")
			banned = banned || strings.HasPrefix(name, "rand.") && !slices.Contains([]string{"rand.Rand", "rand.New", "rand.NewPCG"}, name)
		}
		if banned {
			t.Errorf("%s: %s is not used here: take it as an argument, or wait for a condition", set.Position(s.Pos()), name)
		}
		return true
	})
}

func dotted(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); ok {
		return x.Name + "." + s.Sel.Name
	}
	return ""
}
