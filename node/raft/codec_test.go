package raft

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

// sampleMembership has a member in every seat, with and without names and URLs.
func sampleMembership() Membership {
	return Membership{Members: []Member{
		{ID: 1, Name: "db-0", PeerAddress: "db-0.db:2380", ClientURLs: []string{"http://db-0:2379"}, Seat: SeatVoter},
		{ID: 2, Name: "db-1", Seat: SeatOutgoing},
		{ID: 0x0102030405060708, Seat: SeatIncoming},
		{ID: 1<<64 - 1, ClientURLs: []string{"", "http://x"}, Seat: SeatLearner},
	}}
}

// samples are one entry of each kind.
func samples() map[string]Entry {
	return map[string]Entry{
		"no-op":      sealed(1, 2, EntryNoop, nil),
		"command":    sealed(0x1122334455667788, 0x0102030405060708, EntryCommand, []byte("hello")),
		"membership": sealed(3, 3, EntryMembership, voters(1).AppendTo(nil)),
	}
}

// TestEntryFormIsFrozen pins the byte form: a change of it makes every log and every peer unreadable.
func TestEntryFormIsFrozen(t *testing.T) {
	golden := map[string]string{
		"no-op":      "00000000d426f39a0100000000000000020000000000000001",
		"command":    "05000000e9f83ba5887766554433221108070605040302010268656c6c6f",
		"membership": "0e00000005501e4b03000000000000000300000000000000030101010000000000000002000000",
	}
	for name, e := range samples() {
		if got := hex.EncodeToString(e.AppendTo(nil)); got != golden[name] {
			t.Errorf("%s: the form is frozen:\n%s, want\n%s", name, got, golden[name])
		}
		if e.Size() != len(e.AppendTo(nil)) {
			t.Errorf("%s: size %d, the form has %d bytes", name, e.Size(), len(e.AppendTo(nil)))
		}
	}
}

func TestMembershipFormIsFrozen(t *testing.T) {
	const golden = "01" + "04" + // version 1, four members
		"0100000000000000" + "02" + "04" + "64622d30" + "0c" + "64622d302e64623a32333830" + "01" + "10" + "687474703a2f2f64622d303a32333739" +
		"0200000000000000" + "04" + "04" + "64622d31" + "00" + "00" +
		"0807060504030201" + "03" + "00" + "00" + "00" +
		"ffffffffffffffff" + "01" + "00" + "00" + "02" + "00" + "08" + "687474703a2f2f78"
	if got := hex.EncodeToString(sampleMembership().AppendTo(nil)); got != golden {
		t.Errorf("the form of version %d is frozen:\n%s, want\n%s", formVersion, got, golden)
	}
}

// TestFrozenNumbers pins what is written as a number.
func TestFrozenNumbers(t *testing.T) {
	got := []int{int(EntryNoop), int(EntryCommand), int(EntryMembership), int(SeatLearner), int(SeatVoter), int(SeatIncoming), int(SeatOutgoing), EntryHeaderSize, MaxPayload, formVersion}
	want := []int{1, 2, 3, 1, 2, 3, 4, 25, 16 << 20, 1}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v: these are frozen", got, want)
	}
}

// TestEveryDamagedBitIsSeen flips every bit of every sample and cuts it everywhere.
func TestEveryDamagedBitIsSeen(t *testing.T) {
	for name, e := range samples() {
		whole := e.AppendTo(nil)
		for bit := range len(whole) * 8 {
			b := bytes.Clone(whole)
			b[bit/8] ^= 1 << (bit % 8)
			if _, _, err := DecodeEntry(b); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s with bit %d flipped: error %v, want %v", name, bit, err, ErrMalformed)
			}
		}
		for n := range whole {
			if _, _, err := DecodeEntry(whole[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut to %d bytes: error %v, want %v", name, n, err, ErrMalformed)
			}
		}
	}
	whole := sampleMembership().AppendTo(nil)
	for n := range whole {
		if _, err := DecodeMembership(whole[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("membership cut to %d bytes: error %v, want %v", n, err, ErrMalformed)
		}
	}
}

// TestEntriesFollowEachOther reads a run back one by one.
func TestEntriesFollowEachOther(t *testing.T) {
	var b []byte
	entries := append([]Entry{sealed(1, 1, EntryNoop, nil)}, commands(1, 1, 2, 3)...)
	for _, e := range entries {
		b = e.AppendTo(b)
	}
	for _, want := range entries {
		got, rest, err := DecodeEntry(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("read %+v, error %v; want %+v", got, err, want)
		}
		b = rest
	}
	if len(b) != 0 {
		t.Fatalf("%d bytes are left over", len(b))
	}
}

func TestOverTheBounds(t *testing.T) {
	for name, e := range map[string]Entry{
		"kind 0":         sealed(1, 1, 0, nil),
		"kind 4":         sealed(1, 1, 4, nil),
		"payload":        sealed(1, 1, EntryCommand, make([]byte, MaxPayload+1)),
		"wrong checksum": {Index: 1, Term: 1, Kind: EntryNoop, Sum: 1},
	} {
		if err := e.Check(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want %v", name, err, ErrMalformed)
		}
	}
	long := strings.Repeat("x", maxString+1)
	for name, m := range map[string]Membership{
		"ID 0":            {Members: []Member{{Seat: SeatVoter}}},
		"seat 0":          {Members: []Member{{ID: 1}}},
		"seat 5":          {Members: []Member{{ID: 1, Seat: 5}}},
		"twice":           {Members: []Member{{ID: 1, Seat: SeatVoter}, {ID: 1, Seat: SeatVoter}}},
		"out of order":    {Members: []Member{{ID: 2, Seat: SeatVoter}, {ID: 1, Seat: SeatVoter}}},
		"name":            {Members: []Member{{ID: 1, Seat: SeatVoter, Name: long}}},
		"address":         {Members: []Member{{ID: 1, Seat: SeatVoter, PeerAddress: long}}},
		"client URL":      {Members: []Member{{ID: 1, Seat: SeatVoter, ClientURLs: []string{long}}}},
		"number of URLs":  {Members: []Member{{ID: 1, Seat: SeatVoter, ClientURLs: make([]string, maxClientURLs+1)}}},
		"number of seats": {Members: make([]Member, maxMembers+1)},
	} {
		if err := m.Check(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want %v", name, err, ErrMalformed)
		}
		if _, err := DecodeMembership(m.AppendTo(nil)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: decoded with error %v, want %v", name, err, ErrMalformed)
		}
	}
	newer := append([]byte{formVersion + 1}, sampleMembership().AppendTo(nil)[1:]...)
	if _, err := DecodeMembership(newer); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("newer version: error %v, want the version named", err)
	}
}

// FuzzDecodeEntry: whatever the bytes, decoding does not panic, keeps nothing but a slice of its input, and
// what it accepts encodes to the same bytes.
func FuzzDecodeEntry(f *testing.F) {
	for _, e := range samples() {
		whole := e.AppendTo(nil)
		f.Add(whole)
		f.Add(whole[:len(whole)-1])
		f.Add(append(bytes.Clone(whole), whole...))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add(append([]byte{0xff, 0xff, 0xff, 0x00}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := allocated(func() { _, _, _ = DecodeEntry(b) }); n > 16<<10 { // an error's text
			t.Fatalf("decoding %d bytes allocates %d", len(b), n)
		}
		e, rest, err := DecodeEntry(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v does not match %v", err, ErrMalformed)
			}
			return
		}
		if cap(e.Payload) != len(e.Payload) || len(e.Payload) > 0 && &e.Payload[0] != &b[EntryHeaderSize] {
			t.Fatal("the payload is not its own part of the input")
		}
		if again := e.AppendTo(nil); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("encodes to %x, was read from %x", again, b[:len(b)-len(rest)])
		}
	})
}

// FuzzDecodeMembership: whatever the bytes, decoding does not panic, keeps no more than a fixed multiple of
// its input, and what it accepts is well formed and survives another round.
func FuzzDecodeMembership(f *testing.F) {
	f.Add(Membership{}.AppendTo(nil))
	f.Add(voters(5).AppendTo(nil))
	f.Add(sampleMembership().AppendTo(nil))
	f.Add(sampleMembership().AppendTo(nil)[:20])
	f.Add([]byte{formVersion, 0xff, 0x07})
	f.Add([]byte{formVersion, 1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0x07, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := allocated(func() { _, _ = DecodeMembership(b) }); n > uint64(64*len(b)+16<<10) { // lists grow by doubling
			t.Fatalf("decoding %d bytes allocates %d", len(b), n)
		}
		m, err := DecodeMembership(b)
		if held := holds(m); held > 32*len(b)+1024 {
			t.Fatalf("holds %d bytes for an input of %d", held, len(b))
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v does not match %v", err, ErrMalformed)
			}
			return
		}
		again, err := DecodeMembership(m.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v comes back as %+v, error %v", m, again, err)
		}
	})
}

// holds is what a decoded membership keeps in memory, in bytes.
func holds(m Membership) int {
	n := cap(m.Members) * int(unsafe.Sizeof(Member{}))
	for _, x := range m.Members {
		n += len(x.Name) + len(x.PeerAddress) + cap(x.ClientURLs)*int(unsafe.Sizeof(""))
		for _, u := range x.ClientURLs {
			n += len(u)
		}
	}
	return n
}

// TestHostileSizesAllocateNothing: a header that promises much and brings nothing is refused before any room
// is made for it.
func TestHostileSizesAllocateNothing(t *testing.T) {
	big := append([]byte{0, 0, 0, 1}, make([]byte, EntryHeaderSize)...) // a payload of 16 MiB
	many := []byte{formVersion, 0xff, 0x07}                             // 1023 members
	for name, decode := range map[string]func(){
		"entry":      func() { _, _, _ = DecodeEntry(big) },
		"membership": func() { _, _ = DecodeMembership(many) },
	} {
		if each := allocated(func() {
			for range 1000 {
				decode()
			}
		}) / 1000; each > 4096 {
			t.Errorf("%s: %d bytes are allocated", name, each)
		}
	}
}

// allocated is what f allocates, in bytes. Others may allocate meanwhile, so the least of some tries counts.
func allocated(f func()) uint64 {
	least := uint64(1 << 62)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.TotalAlloc-before.TotalAlloc); least < 4096 {
			break
		}
	}
	return least
}
