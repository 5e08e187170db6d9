package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPiecesFitTheSource: every bug can be planted as it stands, and what it makes of a file is still Go. That each
// compiles, too, is shown by -check.
func TestPiecesFitTheSource(t *testing.T) {
	t.Chdir("../..")
	names := map[string]bool{}
	for _, b := range planted() {
		if names[b.name] {
			t.Errorf("%q is there twice: -only could not choose", b.name)
		}
		names[b.name] = true
		dir := t.TempDir()
		if _, err := plant(b, dir); err != nil {
			t.Errorf("%s: %v", b.name, err)
			continue
		}
		for _, p := range b.pieces {
			at := filepath.Join(dir, strings.ReplaceAll(p.file, "/", "_"))
			text, err := os.ReadFile(at)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.ParseFile(token.NewFileSet(), at, text, 0); err != nil {
				t.Errorf("%s: %v", b.name, err)
			}
		}
	}
}
