package kv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// apartRows are the values that stand apart in a view, and those that a row or an event says do, each by its row's key.
func apartRows(t testing.TB, v *View) (there, meant map[string]bool) {
	t.Helper()
	there, meant = map[string]bool{}, map[string]bool{}
	mean := func(kv KeyValue) {
		if kv.apart {
			meant[string(rowValue(nil, kv.ModRevision, kv.Key))] = true
		}
	}
	must(t, v.rows(nil, func(key, value []byte) error {
		switch key[0] {
		case prefixValue:
			there[string(key)] = true
		case prefixKey, prefixBefore:
			kv, err := decodeStored(key[1:], value)
			mean(kv)
			return err
		case prefixHistory:
			return EachEvent(value, func(e Event) bool {
				mean(e.KV)
				mean(KeyValue{Key: e.KV.Key, ModRevision: e.Before, apart: e.apartBefore})
				return true
			})
		}
		return nil
	}))
	return there, meant
}

// compareApart sees that the values that stand apart are those that something refers to: none is lost, none left over.
func (p *pair) compareApart(s *Store) {
	p.t.Helper()
	v := s.View()
	defer mustClose(p.t, v)
	there, meant := apartRows(p.t, v)
	for row := range meant {
		if !there[row] {
			p.fatalf("value %q is not there", row)
		}
	}
	for row := range there {
		if !meant[row] {
			p.fatalf("nothing refers to value %q", row)
		}
	}
}

func value(c string) string { return strings.Repeat(c, 600) }

func (w *scribe) put(key, value string) Entry {
	return w.entry(Op{Put: &PutRequest{Key: []byte(key), Value: []byte(value)}})
}

func (w *scribe) compact(revision Revision) Entry {
	return w.command(Command{Compact: &Compaction{Revision: revision}})
}

// TestLargeValuesStandApart: by themselves, once each, for as long as a read can see them.
func TestLargeValuesStandApart(t *testing.T) {
	onEach(t, func(t *testing.T, g ground) {
		w, o := &scribe{}, g.options("s")
		o.ApartBytes = 0 // the default
		s := mustOpen(t, "s", o)
		defer mustClose(t, s)
		apart := func(want ...string) {
			t.Helper()
			v := s.View()
			defer mustClose(t, v)
			var got []string
			must(t, v.rows(nil, func(key, value []byte) error {
				if key[0] == prefixValue {
					got = append(got, fmt.Sprintf("%d %s=%s", key[8], key[9:], value[:1]))
				} else if len(value) >= 600 {
					t.Errorf("row %q has %d bytes", key, len(value))
				}
				return nil
			}))
			if !slices.Equal(got, want) {
				t.Fatalf("apart are %q, want %q", got, want)
			}
		}
		mustApply(t, s, []Entry{w.put("a", "small"), w.put("a", value("1")), w.put("b", value("2")), w.put("a", value("3"))})
		mustApply(t, s, []Entry{w.put("b", "small")})
		apart("3 a=1", "4 b=2", "5 a=3")
		mustApply(t, s, []Entry{w.compact(6)})
		for more := true; more; {
			var err error
			if more, err = s.Tidy(1); err != nil {
				t.Fatal(err)
			}
		}
		apart("4 b=2", "5 a=3") // the event that has replaced the one of b is of the compacted revision itself
		mustApply(t, s, []Entry{w.put("c", "small"), w.compact(7)})
		if _, err := s.Tidy(100); err != nil {
			t.Fatal(err)
		}
		apart("5 a=3")
	})
}

// TestMissingValueIsDamage: a value that is not where its key's row says is told, by every way to read it.
func TestMissingValueIsDamage(t *testing.T) {
	onEach(t, func(t *testing.T, g ground) {
		w, s := &scribe{}, mustOpen(t, "s", g.options("s"))
		defer mustClose(t, s)
		mustApply(t, s, []Entry{w.put("a", value("1")), w.put("b", value("2"))})
		rows := s.gen.db.NewBatch(0)
		must(t, errors.Join(rows.Delete(rowValue(nil, 2, []byte("a"))), rows.Commit(), rows.Close()))
		v := s.View()
		defer mustClose(t, v)
		_, one := s.Read(t.Context(), get("a"))
		_, all := s.Read(t.Context(), everything())
		_, _, hash := s.Hash()
		for how, err := range map[string]error{"a key": one, "a range": all, "events": v.Events(0, func(Event) bool { return true }), "hash": hash} {
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"a" of revision 2`) {
				t.Errorf("%s: %v", how, err)
			}
		}
		keys := Txn{Success: []Op{{Range: &RangeRequest{Key: []byte{0}, End: []byte{0}, KeysOnly: true}}}}
		if res, err := s.Read(t.Context(), keys); err != nil || len(res.Responses[0].Range.KVs) != 2 {
			t.Errorf("keys alone: %v %v", res, err)
		}
	})
}

// TestEarlierLayout: a state in which nothing stands apart, as version 2 wrote it, comes as a snapshot, is opened, and is
// written on in the present version.
func TestEarlierLayout(t *testing.T) {
	onEach(t, func(t *testing.T, g ground) {
		w, o := &scribe{}, g.options("old")
		o.ApartBytes = 1 << 20
		old, s := mustOpen(t, "old", o), mustOpen(t, "s", g.options("s"))
		defer mustClose(t, old)
		mustApply(t, old, []Entry{w.put("a", value("1")), w.put("b", value("2"))})
		in, err := s.BeginImport()
		must(t, err)
		v := old.View()
		defer mustClose(t, v)
		now, then := appendBytes(appendBytes(nil, rowVersion()), []byte{layoutVersion}), appendBytes(appendBytes(nil, rowVersion()), []byte{oldestLayout})
		must(t, v.Export(func(chunk []byte) error { return in.Add(bytes.Replace(chunk, now, then, 1)) }))
		_, err = in.Finish()
		must(t, errors.Join(err, s.Switch(in)))
		layout := func() byte {
			version, _, err := readMeta(s.gen.db.NewIter)
			must(t, err)
			return version
		}
		must(t, s.Close())
		if s = mustOpen(t, "s", g.options("s")); layout() != oldestLayout || s.layout != oldestLayout {
			t.Fatalf("version %d", layout())
		}
		next := []Entry{w.put("a", value("3")), w.compact(3)}
		mustApply(t, s, next)
		mustApply(t, old, next)
		if _, err := s.Tidy(100); err != nil || layout() != layoutVersion {
			t.Fatalf("version %d, %v", layout(), err)
		}
		if a, b := hashOf(t, s), hashOf(t, old); a != b {
			t.Fatalf("states differ: %s and %s", a, b)
		}
		mustClose(t, s)
	})
}

// BenchmarkRangeApart lists keys whose values stand in their rows, and such whose values stand apart.
func BenchmarkRangeApart(b *testing.B) {
	for _, apart := range []int{1 << 20, 512} {
		b.Run(fmt.Sprint("from=", apart), func(b *testing.B) {
			s := filled(b, Options{FS: vfs.NewMem(), ApartBytes: apart}, 10_000, 1000)
			defer mustClose(b, s)
			must(b, s.Flush())
			for b.Loop() {
				if _, err := s.Read(b.Context(), everything()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
