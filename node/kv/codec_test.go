package kv

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sample is a command with every field of every kind set.
func sample() Command {
	return Command{ID: CommandID{Origin: 300, Boot: 2, Seq: 9}, Floor: 7, Txn: Txn{
		Compares: []Compare{
			{Key: []byte("c"), End: []byte("d"), Target: CompareMod, Result: CompareGreater, Number: -5},
			{Key: []byte("c"), Target: CompareValue, Result: CompareNotEqual, Value: []byte("x")},
		},
		Success: []Op{
			{Put: &PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 64, PrevKV: true}},
			{Put: &PutRequest{Key: []byte("k2"), IgnoreValue: true, IgnoreLease: true}},
			{Delete: &DeleteRequest{Key: []byte("a"), End: []byte{0}, PrevKV: true}},
		},
		Failure: []Op{
			{Range: &RangeRequest{Key: []byte("r"), End: []byte("s"), Limit: 1, Revision: 2, Order: SortDescend, Target: SortByValue, KeysOnly: true, CountOnly: true, MinMod: 3, MaxMod: 4, MinCreate: 5, MaxCreate: 6}},
			{Txn: &Txn{Success: []Op{{Range: &RangeRequest{Key: []byte("n")}}}}},
		},
	}}
}

// TestGoldenForms pins the bytes of everything that travels or rests. They are frozen.
func TestGoldenForms(t *testing.T) {
	put := Command{ID: CommandID{Origin: 1 << 63, Boot: 1, Seq: 1}, Floor: 1, Txn: Txn{Success: []Op{{Put: &PutRequest{Key: []byte("key"), Value: []byte("value")}}}}}
	open := Command{ID: CommandID{Origin: 1, Boot: 2, Seq: 3}, Floor: 4, Open: true}
	all := sample()
	m := meta{Applied: Applied{Index: 300, Term: 2, Config: 5, Membership: []byte("abc"), Effects: 0x01020304}, revision: 77, opened: true, compacted: 9, tidied: 7}
	rest := []Command{
		{ID: CommandID{Origin: 1, Boot: 2, Seq: 3}, Floor: 4, Compact: &Compaction{Revision: 300}},
		{ID: CommandID{Origin: 1, Boot: 2, Seq: 3}, Floor: 4, Grant: &Lease{ID: -2, TTL: 60}},
		{ID: CommandID{Origin: 1, Boot: 2, Seq: 3}, Floor: 4, Revoke: &Revocation{Term: 7, Seen: 8, Leases: []int64{5, -6}}},
		{ID: CommandID{Origin: 1, Boot: 2, Seq: 3}, Floor: 4, Checkpoint: &Checkpoint{Term: 7, Seen: 8, Leases: []Lease{{ID: 5, Remaining: 30}}}},
	}
	block := appendEvent(nil, 0, 300, []byte("k"), 2, appendVersion(nil, &KeyValue{CreateRevision: 2, ModRevision: 300, Version: 4, Value: []byte("v")}))
	apart := appendStored(nil, &KeyValue{CreateRevision: 2, ModRevision: 300, Version: 4, Lease: -1, Value: []byte("v"), apart: true})
	bare := appendBare(nil, 0, 300, []byte("k"), prior{mod: 2, apart: true}, apart)
	w := window{boot: 3, floor: 65, bits: []uint64{2, 1 << 63}}
	for name, form := range map[string]struct {
		bytes []byte
		want  string
	}{
		"put command":      {put.AppendTo(nil), "01808080808080808080010101010000010200036b65790576616c75650000"},
		"open command":     {open.AppendTo(nil), "010102030401"},
		"full command":     {all.AppendTo(nil), "01ac02020907000202010163016409000303016300000178030201016b017680010206026b320000030101610100020103020401720173020406080a0c04000101000000016e0000000000000000"},
		"applied row":      {m.append(nil), "ac0202054d0a080104030201616263"},
		"key row's key":    {rowKey(nil, []byte("a\x00")), "6b6100"},
		"key row":          {appendVersion(nil, &KeyValue{CreateRevision: 2, ModRevision: 300, Version: 4, Lease: -1, Value: []byte("v")}), "02ac02040176"},
		"compact command":  {rest[0].AppendTo(nil), "020102030402d804"},
		"grant command":    {rest[1].AppendTo(nil), "0201020304030378"},
		"revoke command":   {rest[2].AppendTo(nil), "0201020304040708020a0b"},
		"left command":     {rest[3].AppendTo(nil), "0201020304050708010a3c"},
		"history's key":    {rowHistory(place{300, 2}), "68000000000000012c00000002"},
		"history block":    {appendEvent(block, 300, 301, []byte("k"), 300, nil), "ac02016b020602ac0204007601016bac0200"},
		"bare key row":     {apart, "0002ac020401"},
		"value's key":      {rowValue(nil, 300, []byte("k")), "76000000000000012c6b"},
		"bare block":       {appendBare(bare, 300, 301, []byte("k"), prior{mod: 300}, nil), "00ac02016b05060002ac02040101016bd80400"},
		"grave's key":      {rowGrave(nil, []byte("a\x00")), "646100"},
		"before's key":     {rowBefore(nil, []byte("a\x00")), "626100"},
		"lease's key":      {rowLease(-2), "6cfffffffffffffffe"},
		"lease":            {(&Lease{ID: -2, TTL: 60, Remaining: 7, Granted: 300}).append(nil), "780eac02"},
		"attached key":     {rowAttached(nil, 258, []byte("k")), "6100000000000001026b"},
		"window row's key": {rowWindow(258), "770000000000000102"},
		"window row":       {w.appendTo(nil), "034102000000000000000000000000000080"},
		"version row":      {append(rowVersion(), layoutVersion), "6d7603"},
	} {
		if got := hex.EncodeToString(form.bytes); got != form.want {
			t.Errorf("%s: the format has changed (it is frozen): %s, want %s", name, got, form.want)
		}
	}
}

// TestGoldenState pins a small store as it is exported: every kind of row that there is, effects included.
func TestGoldenState(t *testing.T) { onEach(t, testGoldenState) }

func testGoldenState(t *testing.T, g ground) {
	s := mustOpen(t, "s", g.options("s"))
	defer mustClose(t, s)
	open := Command{ID: CommandID{Origin: 2, Boot: 1, Seq: 1}, Open: true}
	del := Command{ID: CommandID{Origin: 1, Boot: 1, Seq: 4}, Floor: 2, Txn: Txn{Success: []Op{{Delete: &DeleteRequest{Key: []byte("b")}}}}}
	entries := append(puts(1, 3, letter, "v"), Entry{Index: 4, Term: 1, Command: del.AppendTo(nil)}, Entry{Index: 5, Term: 2, Command: open.AppendTo(nil)})
	if _, err := s.Apply(entries, 5, []byte("members")); err != nil {
		t.Fatal(err)
	}
	var state []byte
	v := s.View()
	defer mustClose(t, v)
	if err := v.Export(func(chunk []byte) error { state = append(state, chunk...); return nil }); err != nil {
		t.Fatal(err)
	}
	const want = "02646201050d68000000000000000500000000230201620005020201007601016300050303010076010164000504040100760101620200026b63050303010076026b64050404010076026d6112050205050000013b753d636d656d62657273026d760103097700000000000000010a01031800000000000000097700000000000000020a01000200000000000000"
	if got := hex.EncodeToString(state); got != want {
		t.Errorf("the layout has changed (it is frozen): %s, want %s", got, want)
	}
}

func TestCommandsRoundTrip(t *testing.T) {
	g := newGenerator(1)
	g.now = 40
	commands := []Command{sample()}
	for range 3000 {
		commands = append(commands, g.command())
	}
	for _, c := range commands {
		if err := c.Check(); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		b := c.AppendTo([]byte("before"))
		got, err := DecodeCommand(b[len("before"):])
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if again := got.AppendTo([]byte("before")); !bytes.Equal(again, b) {
			t.Fatalf("decoded as %+v from %+v", got, c)
		}
		if id := IDOf(b[len("before"):]); id != c.ID {
			t.Fatalf("%+v has ID %+v", c, id)
		}
	}
	all := sample()
	if got, err := DecodeCommand(all.AppendTo(nil)); err != nil || !reflect.DeepEqual(got, all) {
		t.Fatalf("decoded as %+v from %+v: %v", got, all, err)
	}
}

// TestEveryCutCommandIsMalformed: no prefix of a command passes for one, and nothing may follow it.
func TestEveryCutCommandIsMalformed(t *testing.T) {
	c := sample()
	b := c.AppendTo(nil)
	for n := range b {
		if _, err := DecodeCommand(b[:n]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(b), err)
		}
	}
	if _, err := DecodeCommand(append(b, 0)); !errors.Is(err, ErrMalformed) {
		t.Fatalf("a byte too many: %v", err)
	}
	if IDOf(b) != c.ID || IDOf(b[:2]) != (CommandID{}) || IDOf(nil) != (CommandID{}) {
		t.Fatal("an ID is read where there is none")
	}
}

// nested is a transaction within depth others.
func nested(depth int) Txn {
	t := Txn{Success: []Op{{Put: &PutRequest{Key: []byte("deep")}}}}
	for range depth {
		inner := t
		t = Txn{Success: []Op{{Txn: &inner}}}
	}
	return t
}

// TestCheckGuardsTheLog: what Check accepts every member can decode; what it refuses, none.
func TestCheckGuardsTheLog(t *testing.T) {
	for name, ok := range map[string]Txn{
		"the deepest":      nested(maxNesting),
		"the longest":      {Failure: slicesOf(maxListed)},
		"an empty one":     {},
		"an empty put":     {Success: []Op{{Put: &PutRequest{}}}},
		"a negative limit": {Success: []Op{{Range: &RangeRequest{Limit: -1}}}},
	} {
		c := Command{Txn: ok}
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := DecodeCommand(c.AppendTo(nil)); err != nil {
			t.Errorf("%s cannot be decoded: %v", name, err)
		}
	}
	for name, bad := range map[string]Txn{
		"too deep":           nested(maxNesting + 1),
		"too long":           {Success: slicesOf(maxListed + 1)},
		"too many compares":  {Compares: make([]Compare, maxListed+1)},
		"an empty operation": {Success: []Op{{}}},
		"an unknown target":  {Compares: []Compare{{Target: 5}}},
		"an unknown result":  {Compares: []Compare{{Result: 4}}},
		"an unknown order":   {Success: []Op{{Range: &RangeRequest{Order: 3}}}},
		"an unknown sort":    {Failure: []Op{{Txn: &Txn{Failure: []Op{{Range: &RangeRequest{Target: 5}}}}}}},
	} {
		c := Command{Txn: bad}
		if err := c.Check(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := DecodeCommand(c.AppendTo(nil)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s was decoded: %v", name, err)
		}
	}
	two := Command{Txn: Txn{Success: []Op{{Put: &PutRequest{}, Range: &RangeRequest{}}}}}
	if err := two.Check(); !errors.Is(err, ErrMalformed) {
		t.Errorf("an operation of two kinds: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	read, put, del := Op{Range: &RangeRequest{}}, Op{Put: &PutRequest{}}, Op{Delete: &DeleteRequest{}}
	for want, txns := range map[bool][]Txn{
		true:  {{}, {Success: []Op{read}, Failure: []Op{read, {Txn: &Txn{Failure: []Op{read}}}}}},
		false: {{Success: []Op{put}}, {Failure: []Op{read, del}}, {Success: []Op{{Txn: &Txn{Failure: []Op{put}}}}}},
	} {
		for _, x := range txns {
			if x.ReadOnly() != want {
				t.Errorf("%+v: read-only %v", x, !want)
			}
		}
	}
}

func slicesOf(n int) []Op {
	ops := make([]Op, n)
	for i := range ops {
		ops[i].Put = &PutRequest{}
	}
	return ops
}

// TestDecodersAllocateWithTheirInput: a claimed length or count alone makes nobody allocate.
func TestDecodersAllocateWithTheirInput(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	c := sample()
	whole := c.AppendTo(nil)
	for i := range 4000 {
		b := bytes.Clone(whole[:1+rng.IntN(len(whole))])
		for range 1 + rng.IntN(3) {
			b = append(b[:rng.IntN(len(b)+1)], binary.AppendUvarint(nil, rng.Uint64()>>rng.IntN(64))...)
		}
		if len(b) > 0 && i%2 == 0 {
			b[0] = commandVersion
		}
		if n := allocated(func() { decodeAll(b) }); n > 64<<10 {
			t.Fatalf("decoding %d bytes allocated %d: %x", len(b), n, b)
		}
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func decodeAll(b []byte) {
	_, _ = DecodeCommand(b)
	_, _ = decodeMeta(b)
	_, _ = decodeStored(nil, b)
	_ = EachEvent(b, func(Event) bool { return true })
	_, _ = decodeWindow(b)
	_, _, _ = decodeWindowRow(b[:min(len(b), 9)], b[min(len(b), 9):])
}

func FuzzDecodeCommand(f *testing.F) {
	g := newGenerator(2)
	for range 20 {
		c := g.command()
		f.Add(c.AppendTo(nil))
	}
	all := sample()
	f.Add(all.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		id := IDOf(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if id != c.ID {
			t.Fatalf("%+v has ID %+v", c, id)
		}
		if err := c.Check(); err != nil {
			t.Fatalf("decoded what may not be proposed: %v", err)
		}
		again, err := DecodeCommand(c.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("%+v became %+v: %v", c, again, err)
		}
	})
}

// FuzzDecodeRows: whatever a row's decoder takes, it writes again with the same meaning.
func FuzzDecodeRows(f *testing.F) {
	m := meta{Applied: Applied{Index: 300, Term: 2, Config: 5, Membership: []byte("abc"), Effects: 0x01020304}, revision: 77, opened: true, compacted: 9, tidied: 7}
	w := window{boot: 3, floor: 65, bits: []uint64{2, 1 << 63}}
	f.Add(m.append(nil))
	f.Add(w.appendTo(nil))
	f.Add(append(rowWindow(1), w.appendTo(nil)...))
	f.Add(appendVersion(nil, &KeyValue{CreateRevision: 2, ModRevision: 300, Version: 4, Lease: -1, Value: []byte("v")}))
	row := appendStored(nil, &KeyValue{CreateRevision: 2, ModRevision: 300, Version: 4, Lease: -1, apart: true})
	f.Add(row)
	f.Add(appendBare(appendBare(nil, 0, 300, []byte("k"), prior{mod: 2, apart: true}, row), 300, 301, []byte("k"), prior{mod: 300, apart: true}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		decodeAll(b)
		if m, err := decodeMeta(b); err == nil {
			if again, err := decodeMeta(m.append(nil)); err != nil || !reflect.DeepEqual(again, m) {
				t.Fatalf("%+v became %+v: %v", m, again, err)
			}
		}
		if kv, err := decodeStored(nil, b); err == nil {
			if again, err := decodeStored(nil, appendStored(nil, &kv)); err != nil || fmt.Sprint(again) != fmt.Sprint(kv) {
				t.Fatalf("%+v became %+v: %v", kv, again, err)
			}
		}
		if w, err := decodeWindow(b); err == nil {
			if again, err := decodeWindow(w.appendTo(nil)); err != nil || !reflect.DeepEqual(again, w) {
				t.Fatalf("%+v became %+v: %v", w, again, err)
			}
		}
	})
}

// FuzzImport: no chunk breaks an import, and what was taken can be exported again.
func FuzzImport(f *testing.F) {
	w := window{boot: 3, floor: 65, bits: []uint64{2}}
	var chunk []byte
	for _, row := range [][2][]byte{
		{rowVersion(), {layoutVersion}}, {rowApplied(), (&meta{Applied: Applied{Index: 9}, revision: 2}).append(nil)},
		{rowKey(nil, []byte("a")), appendVersion(nil, &KeyValue{CreateRevision: 2, ModRevision: 2, Version: 1, Value: []byte("v")})},
		{rowWindow(5), w.appendTo(nil)},
	} {
		chunk = appendBytes(appendBytes(chunk, row[0]), row[1])
	}
	f.Add(chunk)
	s := mustOpen(f, "s", small(vfs.NewMem()))
	f.Cleanup(func() { mustClose(f, s) })
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := s.BeginImport()
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Add(b); err == nil {
			_, _ = in.Finish()
		}
		if err := in.Discard(); err != nil {
			t.Fatal(err)
		}
	})
}
