package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// schema is the source of some packages with all their mutants.
type schema struct {
	files   []*file
	mutants []mutant
	broken  int // those that would not compile
}

// file is one source file. Its edits put all mutants in, each behind a comparison with its number.
type file struct {
	pkg, name string // the package's directory and the path, from the module's root
	source    []byte
	edits     []edit
}

// mutant is one change.
type mutant struct {
	id       int
	file     *file
	line     int
	what     string
	from, to int // bytes of the source that it replaces by text
	text     string
}

func (m mutant) place() string { return fmt.Sprintf("%s:%d", m.file.name, m.line) }

// applied is the file's source with this change alone.
func (m mutant) applied() []byte {
	return bytes.Join([][]byte{m.file.source[:m.from], []byte(m.text), m.file.source[m.to:]}, nil)
}

// edit is a piece of text put in at from in place of what reaches to to. Pieces that open or close around the same
// place nest: an opening one knows where its counterpart stands, and the other way round.
type edit struct {
	from, to int
	text     string
	other    int // where the counterpart stands; from for a plain replacement
	seq      int // those made first are the outer ones
}

// newSchema makes mutants of packages of this module. choose picks from all sites, in the order in which they are to
// be taken; those that do not compile are left out, and n of the others are enough (0: all).
func newSchema(pkgs []string, choose func([]site) []site, n int) (*schema, error) {
	s := &schema{}
	imports, err := newImporter(pkgs)
	if err != nil {
		return nil, err
	}
	var sites []site
	for _, pkg := range pkgs {
		c, err := newChecker(pkg, imports)
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, c.files...)
		for _, f := range c.files {
			w := &walker{file: f, checker: c, tree: c.parsed[f], set: c.set, info: c.info}
			sites = append(sites, w.walk()...)
		}
	}
	for i, site := range choose(sites) {
		if n > 0 && len(s.mutants) == n {
			break
		}
		s.add(i+1, site)
	}
	slices.SortStableFunc(s.mutants, func(a, b mutant) int { return cmp.Or(strings.Compare(a.file.name, b.file.name), a.from-b.from) })
	return s, nil
}

// add puts a site's mutant in, if it compiles by itself.
func (s *schema) add(id int, site site) {
	site.id = id
	if err := site.checker.check(&site.mutant); err != nil {
		s.broken++
		return
	}
	s.mutants = append(s.mutants, site.mutant)
	f := site.file
	for _, e := range site.edits(id) {
		e.seq = len(f.edits)
		f.edits = append(f.edits, e)
	}
}

// checker type-checks a package with one mutant, or with none.
type checker struct {
	set     *token.FileSet
	path    string
	imports types.Importer
	files   []*file
	parsed  map[*file]*ast.File
	info    *types.Info // of the package without a mutant
}

// newChecker reads the files of a package.
func newChecker(pkg string, imports types.Importer) (*checker, error) {
	c := &checker{set: token.NewFileSet(), path: pkg, imports: imports, parsed: map[*file]*ast.File{}}
	names, err := filepath.Glob(filepath.Join(pkg, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f := &file{pkg: pkg, name: name, source: source}
		if c.parsed[f], err = parser.ParseFile(c.set, name, source, 0); err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
	}
	if err := c.check(nil); err != nil {
		return nil, fmt.Errorf("%s without a mutant: %w", pkg, err)
	}
	return c, nil
}

func (c *checker) check(m *mutant) error {
	var trees []*ast.File
	for _, f := range c.files {
		tree := c.parsed[f]
		if m != nil && f == m.file {
			var err error
			if tree, err = parser.ParseFile(c.set, f.name, m.applied(), parser.SkipObjectResolution); err != nil {
				return err
			}
		}
		trees = append(trees, tree)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	conf := types.Config{Importer: c.imports}
	_, err := conf.Check("raftsman.dev/"+c.path, c.set, trees, info)
	if m == nil {
		c.info = info
	}
	return err
}

// newImporter reads what the packages import from the compiler's own export data.
func newImporter(pkgs []string) (types.Importer, error) {
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Export"}
	for _, pkg := range pkgs {
		args = append(args, "./"+pkg)
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	exports := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		exports[p.ImportPath] = p.Export
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	}), nil
}

// write puts the changed files and the overlay into dir and returns the overlay's path.
func (s *schema) write(dir string) (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	put := func(name string, text []byte) error {
		at := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		replace[filepath.Join(root, name)] = at
		return os.WriteFile(at, text, 0o600)
	}
	for _, f := range s.files {
		if err := put(f.name, f.changed()); err != nil {
			return "", err
		}
		if err := put(f.pkg+"/zz_mutation.go", []byte("package "+filepath.Base(f.pkg)+support)); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// changed is the source with every mutant in it.
func (f *file) changed() []byte {
	edits := slices.Clone(f.edits)
	slices.SortStableFunc(edits, func(a, b edit) int {
		switch {
		case a.from != b.from:
			return a.from - b.from
		case a.side() != b.side():
			return a.side() - b.side()
		case a.other != b.other:
			return b.other - a.other // the outer opens first, the inner closes first
		case a.side() < 0:
			return b.seq - a.seq
		}
		return a.seq - b.seq
	})
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		out.Write(f.source[at:e.from])
		out.WriteString(e.text)
		at = e.to
	}
	out.Write(f.source[at:])
	return out.Bytes()
}

// side is where an edit stands among those at one place: closing, opening, in place of text.
func (e edit) side() int {
	switch {
	case e.other < e.from:
		return -1
	case e.other > e.from:
		return 0
	}
	return 1
}

// diff shows the line that a mutant changes.
func (s *schema) diff(m mutant) string {
	line := func(text []byte, at int) string {
		from := bytes.LastIndexByte(text[:at], '\n') + 1
		to := len(text)
		if n := bytes.IndexByte(text[at:], '\n'); n >= 0 {
			to = at + n
		}
		return strings.TrimSpace(string(text[from:to]))
	}
	return fmt.Sprintf("  - %s\n  + %s\n", line(m.file.source, m.from), line(m.applied(), m.from))
}

// support is what the changed source calls. It is added to each package.
const support = `

import (
	"cmp"
	"os"
	"strconv"
)

var mutantOn, _ = strconv.Atoi(os.Getenv("MUTANT"))

func mutantPick[T any](id int, was, is T) T {
	if mutantOn == id {
		return is
	}
	return was
}

type mutantNumber interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

func mutantAdd[T mutantNumber](id int, a, b T) T {
	if mutantOn == id {
		return a - b
	}
	return a + b
}

func mutantSub[T mutantNumber](id int, a, b T) T {
	if mutantOn == id {
		return a + b
	}
	return a - b
}

func mutantMin[T cmp.Ordered](id int, a T, more ...T) T {
	return mutantBest(mutantOn != id, a, more)
}

func mutantMax[T cmp.Ordered](id int, a T, more ...T) T {
	return mutantBest(mutantOn == id, a, more)
}

func mutantBest[T cmp.Ordered](least bool, a T, more []T) T {
	for _, b := range more {
		if (b < a) == least {
			a = b
		}
	}
	return a
}
`
