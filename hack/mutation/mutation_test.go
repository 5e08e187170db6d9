package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

// smallSchema makes the mutants of the package in testdata.
func smallSchema(t *testing.T) (*checker, *schema) {
	t.Helper()
	imports, err := newImporter([]string{"."})
	if err != nil {
		t.Fatal(err)
	}
	c, err := newChecker("testdata/small", imports)
	if err != nil {
		t.Fatal(err)
	}
	s := &schema{files: c.files}
	f := c.files[0]
	w := &walker{file: f, checker: c, tree: c.parsed[f], set: c.set, info: c.info}
	for i, site := range w.walk() {
		s.add(i+1, site)
	}
	return c, s
}

// TestMutantsOfASmallPackage pins what is made, and what is not: nothing in String, in an error's text or in a
// constant, and nothing that would not compile.
func TestMutantsOfASmallPackage(t *testing.T) {
	_, s := smallSchema(t)
	var got []string
	for _, m := range s.mutants {
		got = append(got, fmt.Sprintf("%d %s: %s", m.line, m.what, strings.TrimSpace(m.text)))
	}
	want := []string{
		"18 returns early: return *new(error);",
		"20 operand dropped: b.full", "20 operand dropped: s > 0", "20 condition negated: !(b.full && s > 0)",
		"20 comparison swapped: s >= 0", "20 comparison swapped: s <= 0", "20 number changed: 1",
		"21 case emptied: ", "23 case emptied: ",
		"22 operand dropped: s < 1", "22 operand dropped: s > bound", "22 condition negated: !(s < 1 || s > bound)",
		"22 comparison swapped: s <= 1", "22 comparison swapped: s >= 1", "22 number changed: 0",
		"22 comparison swapped: s >= bound", "22 comparison swapped: s <= bound",
		"23 statement removed: ", "24 statement removed: ", "24 literal turned: false",
		"26 statement removed: ", "27 statement removed: ", "27 sign turned: b.n -= s",
		"28 condition negated: !b.full", "29 statement removed: ",
		"34 returns early: return *new(size);", "34 min and max swapped: min", "34 sign turned: b + 1", "34 number changed: 2", "34 number changed: 0",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("made:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestAllMutantsFitIntoOneSource: with every mutant behind its number the package still compiles, and each number is
// there.
func TestAllMutantsFitIntoOneSource(t *testing.T) {
	c, s := smallSchema(t)
	changed := string(s.files[0].changed())
	set := token.NewFileSet()
	var trees []*ast.File
	for name, text := range map[string]string{"small.go": changed, "zz_mutation.go": "package small" + support} {
		tree, err := parser.ParseFile(set, name, text, 0)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		trees = append(trees, tree)
	}
	if _, err := (&types.Config{Importer: c.imports}).Check("small", set, trees, nil); err != nil {
		t.Fatalf("%v\n%s", err, changed)
	}
	for _, m := range s.mutants {
		if !strings.Contains(changed, fmt.Sprintf("mutantOn != %d ", m.id)) && !strings.Contains(changed, fmt.Sprintf("mutantOn == %d ", m.id)) &&
			!strings.Contains(changed, fmt.Sprintf("(%d, ", m.id)) && !strings.Contains(changed, fmt.Sprintf("(mutantOn != %d)", m.id)) {
			t.Errorf("mutant %d, %s of line %d, is not in the source", m.id, m.what, m.line)
		}
	}
}

// TestOrderKillsEarly: a quick test that kills comes before a slow one, and what is slow runs alone, at last.
func TestOrderKillsEarly(t *testing.T) {
	b := &bench{tests: []*test{
		{binary: "a", name: "Slow", took: 5e9, kills: 3}, {binary: "a", name: "Quick"},
		{binary: "a", name: "Killer", kills: 9}, {binary: "b", name: "Other", kills: 1},
	}}
	var got []string
	for _, run := range b.order() {
		var names []string
		for _, x := range run {
			names = append(names, x.name)
		}
		got = append(got, strings.Join(names, "+"))
	}
	if want := []string{"Killer+Quick", "Other", "Slow"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}
