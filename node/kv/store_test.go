package kv

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"raftsman.dev/node/kv/lsm"
)

// puts makes entries first to last, each one put of key to value by a client of its own sequence.
func puts(first, last uint64, key func(i uint64) string, value string) []Entry {
	var entries []Entry
	for i := first; i <= last; i++ {
		c := Command{ID: CommandID{Origin: 1, Boot: 1, Seq: i}, Floor: i, Txn: Txn{Success: []Op{{Put: &PutRequest{Key: []byte(key(i)), Value: []byte(value)}}}}}
		entries = append(entries, Entry{Index: i, Term: 1, Command: c.AppendTo(nil)})
	}
	return entries
}

func letter(i uint64) string { return string(rune('a' + i%26)) }

func mustApply(t testing.TB, s *Store, entries []Entry) []Result {
	t.Helper()
	results, err := s.Apply(entries, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func mustClose(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func get(key string) Txn { return Txn{Success: []Op{{Range: &RangeRequest{Key: []byte(key)}}}} }

func TestClosedStoreAnswers(t *testing.T) { onEach(t, testClosedStoreAnswers) }

func testClosedStoreAnswers(t *testing.T, g ground) {
	s := mustOpen(t, "s", g.options("s"))
	mustApply(t, s, puts(1, 3, letter, "v"))
	mustClose(t, s)
	mustClose(t, s)
	_, applyErr := s.Apply(puts(4, 4, letter, "v"), 0, nil)
	_, oneErr := s.Read(t.Context(), get("a"))
	_, allErr := s.Read(t.Context(), everything())
	_, durableErr := s.Durable()
	_, _, hashErr := s.Hash()
	v := s.View()
	exportErr := v.Export(func([]byte) error { return nil })
	for i, err := range []error{applyErr, oneErr, allErr, durableErr, hashErr, exportErr, s.Flush(), s.Switch(&Import{applied: 9})} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("call %d on a closed store: %v", i, err)
		}
	}
	mustClose(t, v)
	if s.Applied().Index != 3 || s.Revision() != 4 || s.Size() != 0 {
		t.Errorf("a closed store says applied %d, revision %d, size %d", s.Applied().Index, s.Revision(), s.Size())
	}
}

// TestFailedApplyChangesNothing: neither the database nor what is kept in memory of the commands' IDs.
func TestFailedApplyChangesNothing(t *testing.T) { onEach(t, testFailedApplyChangesNothing) }

func testFailedApplyChangesNothing(t *testing.T, g ground) {
	s := mustOpen(t, "s", g.options("s"))
	defer mustClose(t, s)
	mustApply(t, s, puts(1, 2, letter, "v"))
	before := hashOf(t, s)
	entries := puts(3, 5, letter, "w")
	for name, bad := range map[string][]Entry{
		"a gap":            {entries[0], entries[2]},
		"a repeated entry": {entries[0], entries[0]},
		"a broken command": {entries[0], {Index: 4, Term: 1, Command: []byte{commandVersion}}},
		"a newer command":  {entries[0], {Index: 4, Term: 1, Command: []byte{commandVersion + 1}}},
	} {
		if _, err := s.Apply(bad, 9, []byte("m")); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%s: %v", name, err)
		}
		if got := hashOf(t, s); got != before || s.Applied().Config != 0 {
			t.Fatalf("%s changed the state from %s to %s", name, before, got)
		}
	}
	for _, r := range mustApply(t, s, entries) {
		if r.Duplicate || r.Err != nil {
			t.Fatalf("after failed attempts: %+v", r)
		}
	}
}

func TestMembershipAndOpenedTravelWithTheData(t *testing.T) {
	onEach(t, testMembershipAndOpenedTravelWithTheData)
}

func testMembershipAndOpenedTravelWithTheData(t *testing.T, g ground) {
	s := mustOpen(t, "s", g.options("s"))
	open := Command{ID: CommandID{Origin: 1, Boot: 1, Seq: 1}, Open: true}
	if _, err := s.Apply([]Entry{{Index: 1, Term: 1}, {Index: 2, Term: 3, Command: open.AppendTo(nil)}}, 1, []byte("three members")); err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, []Entry{{Index: 3, Term: 3}})
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	other := mustOpen(t, "other", g.options("other"))
	transfer(t, s, other)
	mustClose(t, s)
	s = mustOpen(t, "s", g.options("s"))
	for _, s := range []*Store{s, other} {
		a := s.Applied()
		if a.Index != 3 || a.Term != 3 || a.Config != 1 || string(a.Membership) != "three members" || !s.Opened() || s.Revision() != 1 {
			t.Errorf("found %+v, opened %v, revision %d", a, s.Opened(), s.Revision())
		}
		mustClose(t, s)
	}
}

// TestViewOutlivesSwitch: a view of the state before a switch stays what it was, and the files go when it is
// closed.
func TestViewOutlivesSwitch(t *testing.T) { onEach(t, testViewOutlivesSwitch) }

func testViewOutlivesSwitch(t *testing.T, g ground) {
	s, ahead := mustOpen(t, "s", g.options("s")), mustOpen(t, "ahead", g.options("ahead"))
	mustApply(t, s, puts(1, 5, letter, "old"))
	mustApply(t, ahead, puts(1, 50, letter, "new"))
	v := s.View()
	transfer(t, ahead, s)
	if a, err := s.Durable(); err != nil || a != 50 {
		t.Fatalf("durable at %d after the switch: %v", a, err)
	}
	n := 0
	if err := v.scan([]byte{}, nil, true, func(kv KeyValue) bool { n++; return string(kv.Value) == "old" }); err != nil || n != 5 || v.Applied().Index != 5 {
		t.Fatalf("the old view shows %d keys at entry %d: %v", n, v.Applied().Index, err)
	}
	if n := g.generations("s"); n != 2 {
		t.Fatalf("while the old state is viewed there are %d generations", n)
	}
	mustClose(t, v)
	if n := g.generations("s"); n != 1 {
		t.Fatalf("after the old state's last view there are %d generations", n)
	}
	if a, b := hashOf(t, s), hashOf(t, ahead); a != b {
		t.Fatalf("states %s and %s after a transfer", a, b)
	}
	mustApply(t, s, puts(51, 52, letter, "newer"))
	mustClose(t, s)
	mustClose(t, ahead)
}

// TestImports: they do not disturb each other, never lead backwards, and leave nothing when discarded.
func TestImports(t *testing.T) { onEach(t, testImports) }

func testImports(t *testing.T, g ground) {
	s, source := mustOpen(t, "s", g.options("s")), mustOpen(t, "source", g.options("source"))
	defer mustClose(t, s)
	defer mustClose(t, source)
	var images []*Import
	for _, last := range []uint64{10, 20} {
		mustApply(t, source, puts(source.Applied().Index+1, last, letter, "v"))
		in, err := s.BeginImport()
		if err != nil {
			t.Fatal(err)
		}
		v := source.View()
		if err := v.Export(in.Add); err != nil {
			t.Fatal(err)
		}
		mustClose(t, v)
		if _, err := in.Finish(); err != nil {
			t.Fatal(err)
		}
		images = append(images, in)
	}
	if err := s.Switch(images[1]); err != nil {
		t.Fatal(err)
	}
	if err := s.Switch(images[0]); err == nil || s.Applied().Index != 20 {
		t.Fatalf("went back to entry %d: %v", s.Applied().Index, err)
	}
	if err := images[0].Discard(); err != nil {
		t.Fatal(err)
	}
	empty, err := s.BeginImport()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := empty.Finish(); !errors.Is(err, ErrMalformed) {
		t.Fatalf("an empty import: %v", err)
	}
	if err := empty.Discard(); err != nil {
		t.Fatal(err)
	}
	if n := g.generations("s"); n != 1 || hashOf(t, s) != hashOf(t, source) {
		t.Fatalf("left behind: %d generations", n)
	}
}

func TestImportRefusesForeignRows(t *testing.T) { onEach(t, testImportRefusesForeignRows) }

func testImportRefusesForeignRows(t *testing.T, g ground) {
	s := mustOpen(t, "s", g.options("s"))
	defer mustClose(t, s)
	row := func(key, value string) []byte { return appendBytes(appendBytes(nil, []byte(key)), []byte(value)) }
	in, err := s.BeginImport()
	if err != nil {
		t.Fatal(err)
	}
	for name, chunk := range map[string][]byte{
		"another layout":              row("mv", "\x01"),
		"an unknown row":              row("zz", ""),
		"a row of the future":         row("i\x00", ""),
		"a broken block":              row(string(rowHistory(place{2, 0})), "\x02"),
		"a block's wrong end":         row(string(rowHistory(place{3, 0})), string(appendEvent(nil, 0, 2, []byte("a"), 0, nil))),
		"half a bare block":           row(string(rowHistory(place{2, 0})), "\x00\x02\x01"),
		"an earlier value of nothing": row(string(rowHistory(place{2, 0})), "\x00\x02\x01a\x01\x00"),
		"two values":                  row("ka", "\x00\x02\x02\x01\x00v"),
		"a value of no key":           row("v\x00\x00\x00\x00\x00\x00\x00\x02", "v"),
		"a broken grave":              row("da", ""),
		"a broken version":            row("ba", "\x01"),
		"a broken lease":              row("l", "\x00\x00\x00"),
		"an attached nothing":         row(string(rowAttached(nil, 1, nil)), ""),
		"an empty key":                row("", ""),
		"a broken applied row":        row("ma", "\x01"),
		"a broken key":                row("ka", "\x01"),
		"a broken window":             row("w\x00\x00\x00\x00\x00\x00\x00\x01", "\x01\x01\x01"),
		"a window of no origin":       row("w", "\x01\x01"),
		"half a row":                  row("ka", "123456")[:5],
	} {
		if err := in.Add(chunk); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := in.Add(append(row("ka", "\x02\x02\x01\x00v"), row("ma", "\x05\x01\x00\x02\x00\x00\x00\x00\x00\x00\x00")...)); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Finish(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a state without its layout version: %v", err)
	}
	if err := in.Discard(); err != nil {
		t.Fatal(err)
	}
}

// readFile and writeFile work on the disk under a store.
func readFile(t testing.TB, fs *vfs.MemFS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, f)
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, fs *vfs.MemFS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(b)); err != nil { // Pebble may scribble over what it is given
		t.Fatal(err)
	}
	mustClose(t, f)
}

// TestCurrentFileDamaged: a file that does not verify, or a generation that is not there, is damage; nothing is
// removed for it.
func TestCurrentFileDamaged(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "s", small(fs))
	mustApply(t, s, puts(1, 9, letter, "v"))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	want := hashOf(t, s)
	mustClose(t, s)
	whole := readFile(t, fs, "s/current")
	if string(whole) != "gen-0000000000000001 cea6db56\n" {
		t.Fatalf("the format has changed (version 1 is frozen): %q", whole)
	}
	damaged := [][]byte{nil, []byte("gen-0000000000000002 ddf628a2\n"), bytes.ToUpper(whole)}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		damaged = append(damaged, bad, whole[:i], append(bytes.Clone(whole), whole[:i+1]...))
	}
	for _, bad := range damaged {
		writeFile(t, fs, "s/current", bad)
		if _, err := Open("s", small(fs)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "s/current") {
			t.Fatalf("current file %q: %v", bad, err)
		}
	}
	if err := fs.Remove("s/current"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("s", small(fs)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("data without a current file: %v", err)
	}
	writeFile(t, fs, "s/current", whole)
	s = mustOpen(t, "s", small(fs))
	defer mustClose(t, s)
	if got := hashOf(t, s); got != want {
		t.Fatalf("refusals changed the state from %s to %s", want, got)
	}
}

// TestSurroundingsAreNotDamage: what the operating system refuses says nothing about the data.
func TestSurroundingsAreNotDamage(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "s", small(fs))
	if _, err := Open("s", small(fs)); err == nil || errors.Is(err, ErrCorrupt) {
		t.Fatalf("opened twice: %v", err)
	}
	mustClose(t, s)
	for _, errno := range []syscall.Errno{syscall.EACCES, syscall.ENOSPC, syscall.EIO, syscall.EMFILE} {
		full := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpLock {
				return errno
			}
			return nil
		}))
		if _, err := Open("s", small(full)); !errors.Is(err, errno) || errors.Is(err, ErrCorrupt) {
			t.Fatalf("%v: %v", errno, err)
		}
	}
}

// TestFlippedBitsAreFound: one bit flipped anywhere in the files at rest is either found and named, or changes
// nothing that is read. The one exception is Pebble's manifest, whose last record may pass for a torn write:
// then the state is an earlier one, whole (here: the empty one), and the log does not reach back to it.
func TestFlippedBitsAreFound(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "s", small(fs))
	mustApply(t, s, puts(1, 200, func(i uint64) string { return letter(i) + letter(i/26) }, strings.Repeat("v", 40)))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	want := hashOf(t, s)
	mustClose(t, s)
	const dir = "s/gen-0000000000000001"
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, name := range names {
		kind, _, _ := strings.Cut(strings.TrimLeft(name, "0123456789"), "-")
		if kind != ".sst" && kind != "MANIFEST" {
			continue
		}
		for at := range readFile(t, fs, dir+"/"+name) {
			if at%7 != 0 {
				continue
			}
			disk := copyDisk(t, fs, "s", dir)
			b := readFile(t, disk, dir+"/"+name)
			b[at] ^= 1 << (at % 8)
			writeFile(t, disk, dir+"/"+name, b)
			if err := readDamaged(t, disk, kind, want); err != nil {
				found[kind]++
				if kind == ".sst" && !strings.Contains(err.Error(), name[:len(name)-len(kind)]) {
					t.Errorf("bit flipped in %s at %d is not named: %v", name, at, err)
				}
			}
		}
	}
	if found[".sst"] == 0 || found["MANIFEST"] == 0 {
		t.Fatalf("flips found: %v", found)
	}
	t.Logf("flips found: %v", found)
}

// readDamaged reads the whole state and reports what was found damaged.
func readDamaged(t *testing.T, disk *vfs.MemFS, kind, want string) error {
	t.Helper()
	var heard atomic.Pointer[error]
	o := small(disk)
	o.Damaged = func(err error) { heard.Store(&err) }
	s, err := Open("s", o)
	if err == nil {
		defer mustClose(t, s)
		_, _, err = s.Hash()
		if told := heard.Load(); err != nil && (told == nil || !errors.Is(*told, ErrCorrupt) || !strings.Contains((*told).Error(), ".sst")) {
			t.Errorf("%v, but only this was told: %v", err, told)
		}
	}
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("damage is not marked: %v", err)
		}
		return err
	}
	if got := hashOf(t, s); got != want && (kind != "MANIFEST" || !strings.HasSuffix(got, " at 0")) {
		t.Errorf("a flipped bit went unnoticed: state %s, want %s", got, want)
	}
	return nil
}

func copyDisk(t *testing.T, fs *vfs.MemFS, dirs ...string) *vfs.MemFS {
	t.Helper()
	disk := vfs.NewMem()
	for _, dir := range dirs {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := disk.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if info, err := fs.Stat(dir + "/" + name); err == nil && !info.IsDir() {
				writeFile(t, disk, dir+"/"+name, readFile(t, fs, dir+"/"+name))
			}
		}
	}
	return disk
}

func TestPebbleFormatIsPinned(t *testing.T) {
	if lsm.Format > pebble.FormatNewest || lsm.Format < pebble.FormatMinSupported {
		t.Fatalf("Pebble format %d is not one that this Pebble writes", lsm.Format)
	}
	db := mustOpen(t, "s", small(vfs.NewMem()))
	defer mustClose(t, db)
	pebbles := db.gen.db.(interface {
		FormatMajorVersion() pebble.FormatMajorVersion
	})
	if got := pebbles.FormatMajorVersion(); got != lsm.Format {
		t.Fatalf("the database is in Pebble format %d, not %d", got, lsm.Format)
	}
}
