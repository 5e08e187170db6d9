package kv

import "testing"

// TestGravesAreFoundAgain: whether there are graves is known after a deletion, a restart, a snapshot and a tidying; and a
// key that is put again has its grave's place in history wherever it is remembered.
func TestGravesAreFoundAgain(t *testing.T) { onEach(t, testGravesAreFoundAgain) }

func testGravesAreFoundAgain(t *testing.T, g ground) {
	w := &scribe{}
	s := mustOpen(t, "s", g.options("s"))
	buried := func(when string, want bool) {
		t.Helper()
		if s.buried != want {
			t.Fatalf("%s: buried %v, want %v", when, s.buried, want)
		}
	}
	buried("empty", false)
	mustApply(t, s, w.keys(0, 3)) // revisions 2 to 4
	buried("three keys", false)
	mustApply(t, s, []Entry{w.entry(deleteOf(numbered(1)))})
	buried("a deletion", true)
	to := mustOpen(t, "to", g.options("to"))
	transfer(t, s, to)
	mustClose(t, s)
	s = to
	buried("a snapshot", true)
	mustApply(t, s, []Entry{w.entry(putOf(numbered(1)))}) // revision 6
	v := s.View()
	for at, want := range map[Revision]bool{3: true, 4: true, 5: false, 6: true} {
		p, err := v.then(at)
		must(t, err)
		if _, ok, err := p.get(numbered(1)); ok != want || err != nil {
			t.Errorf("at revision %d the key is there: %v, %v, want %v", at, ok, err, want)
		}
	}
	mustClose(t, v)
	mustApply(t, s, []Entry{w.entry(deleteOf(numbered(2)))})
	mustApply(t, s, []Entry{w.entry(putOf(numbered(9))), w.command(Command{Compact: &Compaction{Revision: 8}})})
	for more := true; more; {
		var err error
		more, err = s.Tidy(1)
		must(t, err)
	}
	buried("a tidying of all", false)
	mustApply(t, s, []Entry{w.entry(putOf(numbered(2)))})
	must(t, s.Flush())
	mustClose(t, s)
	s = mustOpen(t, "to", g.options("to"))
	buried("a restart", false)
	mustClose(t, s)
}
